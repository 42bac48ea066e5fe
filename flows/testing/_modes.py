"""The ways to go wrong that a sweep tries, for every step."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """A way to go wrong; its value is the word for it in the table."""

    FAILS = "fails before its effect"
    FAILS_AFTER = "fails after its effect"
    UNKNOWN = "unknown, and never happened"
    TIMES_OUT = "times out after its effect"
    LATE = "undone, and then late"
    CRASH = "crash after its effect"
    CRASH_FAILS = "crash, then fails"
    REPEATED = "repeated"
    TRANSIENT = "transient error"
    CANCEL_BEFORE = "cancel before"
    CANCEL_IN = "cancel in"
    CANCEL_AFTER = "cancel after"
    SIBLINGS = "fails with its siblings"
    UNDO_REPEATED = "undo repeated"
    CRASH_UNDONE = "crash, then undone"
    UNDO_FAILS = "undo fails"
    UNDOS_FAIL = "undo fails, and another's"
    UNDO_TRANSIENT = "undo: transient error"
    UNDO_CRASH = "undo: crash after its effect"
    UNDO_CANCEL_BEFORE = "undo: cancel before"
    UNDO_CANCEL_IN = "undo: cancel in"
    UNDO_CANCEL_AFTER = "undo: cancel after"
    REPLAYED = "fails, each task replayed"
    RESTART_BEFORE = "worker restart before"
    RESTART_IN = "worker restart in"
    RESTART_AFTER = "worker restart after"
    UNDO_RESTART_BEFORE = "undo: worker restart before"
    UNDO_RESTART_IN = "undo: worker restart in"
    UNDO_RESTART_AFTER = "undo: worker restart after"
    RESET_COMPLETED = "reset after it completed"
    RESET_UNWOUND = "reset after it unwound"


OWN = frozenset(
    (
        Mode.FAILS,
        Mode.FAILS_AFTER,
        Mode.UNKNOWN,
        Mode.TIMES_OUT,
        Mode.LATE,
        Mode.CRASH,
        Mode.CRASH_FAILS,
        Mode.REPEATED,
        Mode.TRANSIENT,
        Mode.UNDO_REPEATED,
        Mode.UNDO_TRANSIENT,
        Mode.UNDO_CRASH,
    )
)
"""In these nothing is to blame but the step or one before it: no cancel meets another one, and no later one is undone, unless
its policy undoes what failed too."""

UNDO_CANCELS = frozenset((Mode.UNDO_CANCEL_BEFORE, Mode.UNDO_CANCEL_IN, Mode.UNDO_CANCEL_AFTER))
RESTARTS = frozenset(mode for mode in Mode if mode is Mode.REPLAYED or "restart" in mode)
RESETS = frozenset((Mode.RESET_COMPLETED, Mode.RESET_UNWOUND))
QUICK = tuple(mode for mode in Mode if mode not in RESTARTS | RESETS)
"""All modes but those that replace the worker, or have it keep no run, or reset the run: they take longer."""

ALL = tuple(Mode)

"""What comes of sagas in which something goes wrong: their calls, and how they end, whenever a worker crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise, product

from activities import EmptyInput
from flows import Saga
from tests.sagas.crashing import (
    risky_after,
    risky_always,
    risky_deep,
    risky_diamond,
    risky_diamond_parking,
    risky_diamond_stopping,
    risky_family,
    risky_line,
    risky_nest,
    risky_parking,
    risky_settling,
    risky_stage,
    risky_stopping,
)
from tests.sample import FAST


@dataclass(frozen=True)
class Scenario:
    """A saga, what goes wrong in it, and what comes of it.

    Attributes:
        saga: what runs.
        switches: what goes wrong, such as ``fail-c``.
        text: the calls: one after another (``,``), beside each other (``|``), with an order of their own there
            (``>``). ``c!`` fails; ``undo c?`` comes only if a crash took c's end.
        end: the run's failure, if it fails.
        left: the steps that are not undone: one whose undo failed, and those that were not tried then.
    """

    saga: Saga[EmptyInput, object]
    switches: tuple[str, ...]
    text: str
    end: str | None = None
    left: tuple[str, ...] = ()

    @cached_property
    def _stages(self) -> list[list[list[str]]]:
        stages = [stage.split("|") for stage in self.text.split(",")]
        return [[[c.strip() for c in lane.split(">")] for lane in lanes] for lanes in stages]

    @cached_property
    def _marked(self) -> list[str]:
        return [call for stage in self._stages for lane in stage for call in lane]

    @property
    def counts(self) -> Counter[str]:
        """How often each handler is called without a crash: an undo that fails is tried again."""
        counts: Counter[str] = Counter()
        for call in self._marked:
            if not call.endswith("?"):
                counts[call.rstrip("!")] += (
                    FAST.max_attempts if call[:5] == "undo " and call[-1] == "!" else 1
                )
        return counts

    @property
    def unsure(self) -> list[str]:
        """The steps that fail, and are undone if a crash took their end."""
        return [call[len("undo ") : -1] for call in self._marked if call.endswith("?")]

    @property
    def effects(self) -> set[str]:
        """What the calls do, without a crash."""
        return {call for call in self._marked if call[-1] not in "!?"}

    @property
    def order(self) -> Iterator[tuple[str, str]]:
        """Which call comes before which."""
        earlier: list[str] = []
        for stage in self._stages:
            lanes = [[call.rstrip("!?") for call in lane] for lane in stage]
            for lane in lanes:
                pairs = [*pairwise(lane), *product(earlier, lane)]
                yield from ((before, call) for before, call in pairs if before != call)
            earlier += chain(*lanes)

    def chain(self, attempts: int = 1, *, lost: bool = False) -> list[tuple[str, str]]:
        """Give the run's failure and its causes; a step of whose end one attempt was lost has an unknown outcome."""
        how, _, step = self.switches[0].partition("-")
        root = ("RuntimeError", f"{step} down") if how == "fail" else ("OutcomeUnknown", "who knows")
        unsure = lost or how == "unknown"
        says = f"{'has an unknown outcome' if unsure else 'failed'} after {attempts} attempt{'s'[: attempts - 1]}"
        text = f"step {step} (risky@1.0.0) {says}: {': '.join(root)}"
        return [(str(self.end), self._head(text)), ("OperationFailed", text), root]

    def _head(self, text: str) -> str:
        if self.end != "Stuck":
            return f"{self.saga.definition} rolled back: {text}"
        first, *others = self.left
        reasons = {first: f"RuntimeError: undo of {first} down"}
        reasons |= dict.fromkeys(others, f"not tried, since {first} wasn't undone")
        lines = [f"not undone: {step} (risky@1.0.0): {why}" for step, why in reasons.items()]
        return "\n".join([f"{self.saga.definition} is stuck: {text}", *lines])

    @property
    def parallel(self) -> bool:
        """Whether it isn't settled in how many tasks it runs, since two results may arrive in one."""
        return "|" in self.text

    @property
    def moments(self) -> list[str]:
        """Before and after each call."""
        return [
            f"{when} {call} {number}"
            for call, count in self.counts.items()
            for number in range(1, count + 1)
            for when in ("before", "after")
        ]


FAILS = "a, b, c!, undo c?"
SPLITS = "a, b | c, d!, undo d?"

SCENARIOS = {
    "1 success": Scenario(risky_line, (), "a, b, c"),
    "1 failure": Scenario(risky_line, ("fail-c",), f"{FAILS}, undo b, undo a", "RolledBack"),
    "1 unknown": Scenario(risky_line, ("unknown-c",), "a, b, c, undo c, undo b, undo a", "RolledBack"),
    "1 always": Scenario(risky_always, ("fail-c",), "a, b, c!, undo c, undo b, undo a", "RolledBack"),
    "2 settles": Scenario(
        risky_diamond, ("fail-b", "slow-c"), "a, b! | c, undo b? | undo c, undo a", "RolledBack"
    ),
    "2 cancels": Scenario(
        risky_settling, ("fail-b", "hang-c"), "a, b! | c, undo b? | undo c, undo a", "RolledBack"
    ),
    "3 diamond": Scenario(risky_diamond, ("fail-d",), f"{SPLITS}, undo b | undo c, undo a", "RolledBack"),
    "4 goes on": Scenario(
        risky_diamond, ("fail-d", "fail-undo-b"), f"{SPLITS}, undo b! | undo c, undo a", "Stuck", ("b",)
    ),
    "4 goes on in a line": Scenario(
        risky_line, ("fail-c", "fail-undo-b"), f"{FAILS}, undo b!, undo a", "Stuck", ("b",)
    ),
    "4 goes on to the end": Scenario(
        risky_line, ("fail-c", "fail-undo-a"), f"{FAILS}, undo b, undo a!", "Stuck", ("a",)
    ),
    "4 stops in a line": Scenario(
        risky_stopping, ("fail-c", "fail-undo-b"), f"{FAILS}, undo b!", "Stuck", ("b", "a")
    ),
    "4 stops": Scenario(
        risky_diamond_stopping, ("fail-d", "fail-undo-b"), f"{SPLITS}, undo b! | undo c", "Stuck", ("b", "a")
    ),
    "4 parks in a line": Scenario(
        risky_parking, ("fail-c", "fail-undo-b"), f"{FAILS}, undo b!, undo b, undo a", "RolledBack"
    ),
    "4 parks": Scenario(
        risky_diamond_parking,
        ("fail-d", "fail-undo-b"),
        f"{SPLITS}, undo b! > undo b | undo c, undo a",
        "RolledBack",
    ),
    "5 fails inside": Scenario(
        risky_after, ("fail-s/y",), "a, s/x, s/y!, undo s/y?, undo s/x, undo a", "RolledBack"
    ),
    "5 beside each other": Scenario(
        risky_nest,
        ("fail-z",),
        "x, s/x > s/y | t/x > t/y, z!, undo z?, undo s/y > undo s/x | undo t/y > undo t/x, undo x",
        "RolledBack",
    ),
    "5 in a subsaga": Scenario(
        risky_deep,
        ("fail-z",),
        "x, t/a, t/s/x, t/s/y, z!, undo z?, undo t/s/y, undo t/s/x, undo t/a, undo x",
        "RolledBack",
    ),
    "5 starts with a stage": Scenario(
        risky_stage,
        ("fail-z",),
        "a, s/p | s/q, s/r, z!, undo z?, undo s/r, undo s/p | undo s/q, undo a",
        "RolledBack",
    ),
    "5 child flows": Scenario(
        risky_family,
        ("fail-z",),
        "a, x > y | p > q, z!, undo z?, undo s/y > undo s/x | undo t/q > undo t/p, undo a",
        "RolledBack",
    ),
}

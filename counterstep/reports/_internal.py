"""Workflow types that Counterstep runs for itself: no flow of anybody's, and nothing for lists of flows."""

CLAIM = "counterstep-claim"
"""Stands for "somebody goes on from this run"."""

TOMBSTONE = "counterstep-tombstone"
"""Stands for "this operation was deleted", at the gateway; nobody runs it."""

UNDOING = "counterstep-undo"
"""The workflow type behind the claim of an ``undo``: it does the work."""

MARKS = (CLAIM, TOMBSTONE)
"""Those that only stand for something: no step, no span, nothing that a human could mend."""

INTERNAL = (*MARKS, UNDOING)

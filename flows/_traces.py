"""Stack traces for the person who reads them: the user's frames, not Temporal's and not ours."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from types import TracebackType

import temporalio
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter

_OURS = Path(__file__).resolve().parent.parent
_FOLDERS = (Path(temporalio.__path__[0]), *(_OURS / name for name in ("activities", "flows", "counterstep")))
_INNER = (*(f"{folder}/" for folder in (*_FOLDERS, Path(importlib.__file__).parent)), "<frozen importlib")


class ShortTraces(DefaultFailureConverter):
    """Records failures without the frames of the framework."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """See base class."""
        exception.__traceback__ = _outer(exception.__traceback__)
        super().to_failure(exception, payload_converter, failure)


def told(error: BaseException) -> str:
    """Give an exception as Python prints it, with the user's frames alone."""
    return "".join(traceback.format_exception(error.with_traceback(_outer(error.__traceback__)))).rstrip()


def _outer(trace: TracebackType | None) -> TracebackType | None:
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    for frame in reversed(frames):
        if not frame.tb_frame.f_code.co_filename.startswith(_INNER):
            trace = TracebackType(trace, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return trace

"""Stack traces for the person who reads them: the user's frames, not Temporal's and not ours."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import temporalio
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter

_OURS = Path(__file__).resolve().parent.parent
_INNER = tuple(
    f"{folder}/" for folder in (Path(temporalio.__path__[0]), *(_OURS / name for name in ("activities", "flows", "counterstep")))
)


class ShortTraces(DefaultFailureConverter):
    """Records failures without the frames of the framework."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """See base class."""
        exception.__traceback__ = _outer(exception.__traceback__)
        super().to_failure(exception, payload_converter, failure)


def _outer(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _outer(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(_INNER):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)

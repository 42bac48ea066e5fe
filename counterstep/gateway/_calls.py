"""What both transports do around a call: permission, metrics, and errors in the gateway's own words only."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.rpc import code_pb2
from starlette.requests import ClientDisconnect

from counterstep.gateway._access import Access, Caller, Permission
from counterstep.gateway._errors import GatewayError, gone, internal
from counterstep.gateway._metrics import Metrics

T = TypeVar("T")
_log = logging.getLogger("counterstep.gateway")


class Calls:
    """Runs calls for a transport."""

    def __init__(self, transport: str, access: Access, metrics: Metrics) -> None:
        """Take the transport's name, who may do what, and what is counted."""
        self._transport = transport
        self._access = access
        self._metrics = metrics

    async def run(
        self,
        method: str,
        needed: Permission,
        caller: Caller,
        work: Callable[[], Awaitable[T]],
    ) -> T:
        """Run one call.

        Args:
            method: its name, for metrics.
            needed: the permission.
            caller: who calls.
            work: does it.

        Raises:
            GatewayError: and nothing else, but a cancel.
        """
        began, code = time.perf_counter(), int(code_pb2.CANCELLED)
        try:
            self._access.check(caller, needed)
            answer = await work()
            code = code_pb2.OK
            return answer
        except Exception as error:
            refusal = _refusal(error, method)
            code = refusal.code
            raise refusal from error
        finally:
            self._metrics.answered(self._transport, method, code, time.perf_counter() - began)


def _refusal(error: Exception, method: str) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, ClientDisconnect):  # while its body was read
        return gone()
    _log.error("%s failed", method, exc_info=error)
    return internal()

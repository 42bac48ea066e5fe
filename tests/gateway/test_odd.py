"""Workflows that are odd in ways of their own: each is shown, and none breaks a list for the others."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc import code_pb2
from starlette.requests import ClientDisconnect
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue

from counterstep.gateway._access import Access, Caller, Permission
from counterstep.gateway._calls import Calls
from counterstep.gateway._errors import GatewayError
from counterstep.gateway._metrics import Metrics
from tests.gateway.conftest import Gate, facing
from tests.gateway.test_codec import CONVERTER
from tests.gateway.test_get import get, json_of
from tests.gateway.test_listing import listed, page
from tests.support import new_id

MEMOS: list[dict[str, Any]] = [
    {"counterstep": "mine"},
    {"counterstep": 5},
    {"counterstep": ["held"]},
    {"counterstep": {"state": 5}},
    {"counterstep": {"state": ["held"]}},
    {"counterstep.progress": "far"},
    {"counterstep.progress": {"steps_done": "many", "resume_point": 3}},
]


async def test_a_memo_of_somebody_else_s_is_no_state(unworked: Gate) -> None:
    """Memos of our name and another form: Get shows a running flow, and a list holds them all."""
    async with unworked() as served:
        kind = new_id("kind")
        ids = [new_id(f"odd-{number}") for number in range(len(MEMOS))]
        for id, memo in zip(ids, MEMOS, strict=True):
            await served.start(kind, 1, id, memo=memo)
            shown = json_of((await get(served, id)).metadata)
            told = {key: value for key, value in shown.items() if key not in ("run_id", "started")}
            assert (memo, told) == (
                memo,
                {"flow": kind, "state": "running", "current": [], "resume_point": ""},
            )
        assert set(await listed(served, f'definition="{kind}"', len(ids))) == {
            f"operations/{id}" for id in ids
        }


async def test_what_can_t_be_decoded_is_listed_by_its_name(
    unworked: Gate, dev_address: str, task_queue: str
) -> None:
    """A payload that the gateway's codec fails on: beside the others an operation with no more than its name and end."""
    coded = await Client.connect(dev_address, data_converter=CONVERTER)
    async with unworked() as plain, facing(coded, task_queue) as served:
        kind = new_id("kind")
        open_, closed, well = new_id("open"), new_id("closed"), new_id("well")
        garbage = Payload(metadata={"encoding": b"binary/turned"}, data=b"x")
        for id in (open_, closed):
            await plain.start(kind, 1, id, memo={"counterstep": RawValue(garbage)})
        await plain.client.get_workflow_handle(closed).terminate()
        await plain.start(kind, 1, well)
        await listed(served, f'definition="{kind}" AND state=terminated', 1)
        await listed(served, f'definition="{kind}" AND done=false', 2)
        found = {
            one.name.removeprefix("operations/"): one
            for one in (await page(served, filter=f'definition="{kind}"')).operations
        }
        told = {id: (one.done, one.error.code, one.HasField("metadata")) for id, one in found.items()}
        assert told == {
            open_: (False, 0, False),
            closed: (True, code_pb2.INTERNAL, False),
            well: (False, 0, True),
        }
        answer = await served.http.get("/v1/operations", params={"filter": f'definition="{kind}"'})
        assert answer.status_code == 200


async def test_a_caller_who_goes_away_before_its_body_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """CANCELLED, as when it goes away later; nothing is logged."""
    calls = Calls("http", Access(), Metrics(lambda: 0))

    async def work() -> None:
        raise ClientDisconnect

    with pytest.raises(GatewayError) as raised:
        await calls.run("start", Permission.START, Caller(), work)
    assert (raised.value.code, raised.value.reason, caplog.records) == (
        code_pb2.CANCELLED,
        "CLIENT_GONE",
        [],
    )

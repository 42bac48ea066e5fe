"""A plan is data: typed by hand, checked, completed, recorded, and run through the Temporal CLI."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities import Context, InvalidInput, Registry, operation
from flows import InvalidPlan, Plan
from flows._plan_read import checked_plan
from tests.conftest import Serve
from tests.sagas.operations import Given, work
from tests.sagas.planning import edges, typed, typed_mistakes
from tests.support import World, causes, failure_of, new_id

Temporal = Callable[..., subprocess.CompletedProcess[str]]


@operation(id="work", version="1.2.0")
async def newer_work(ctx: Context[World], input: Given) -> int:
    """The same, in a newer version."""
    return input.number


def step(name: str, **more: Any) -> dict[str, Any]:
    """Type a step of `work`."""
    return {"name": name, "operation": "work", **more}


REF = {"$ref": "a", "path": ["id"]}


def test_a_typed_plan_is_completed() -> None:
    """Ranges are resolved, options and undo filled in, references become edges; the rest stays as typed."""
    plan = typed(step("a", operation="work@^1"), step("b", input={"number": REF}, timeout="PT5S"), result="b")
    a, b = plan.to_json()["steps"]
    assert (a["operation"], a["timeout"], a["undo"]["type"]) == ("work@1.0.0", "PT2S", "work@1.0.0/undo")
    assert (b["operation"], b["timeout"], b["after"]) == ("work@1.0.0", "PT5S", ["a"])
    assert plan.result == "b"


def test_what_is_recorded_is_what_can_be_typed() -> None:
    """S15: a completed plan, typed again, completes to itself."""
    plan = typed(step("a"), {"kind": "wait", "name": "w", "after": ["a"], "duration": "PT1S"})
    assert checked_plan(plan.to_json(), Registry(work)) == plan


def test_the_newest_version_in_a_range() -> None:
    """Ranges and bare ids take the newest that fits, and the plan says which that is."""
    ranges = ("work@>=1,<1.2", "work@^1", "work", "work@1.0.0")
    steps = [step(f"n{n}", operation=name, no_undo=True) for n, name in enumerate(ranges)]
    plan = checked_plan({"steps": steps}, Registry(work, newer_work))
    found = [s["operation"] for s in plan.to_json()["steps"]]
    assert found == ["work@1.0.0", "work@1.2.0", "work@1.2.0", "work@1.0.0"]
    assert (plan.id, plan.version) == ("saga", "0.0.0")


NO_PLAN: list[Any] = [None, 3, "plan", [], {}, {"steps": {}}, {"id": "x"}]


@pytest.mark.parametrize("value", NO_PLAN, ids=str)
def test_what_is_no_plan_at_all(value: Any) -> None:
    """What has no steps is refused with the form of a plan."""
    with pytest.raises(InvalidPlan) as refused:
        checked_plan(value, Registry(work))
    assert refused.value.message == 'the input is no plan: a plan is {"id": …, "version": …, "steps": […]}'


A_REFERENCE = (
    'input: a reference is {"$ref": "step", "path": ["field", 0]}, the path may be left out; '
    'a literal "$ref" is {"$literal": {"$ref": ...}}'
)
A_KIND = "kind: 'loop' is none; there are operation, constant, wait, approval, subsaga, flow"
BOOL = "Input should be a valid boolean, unable to interpret input"
TYPED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no step": ({"steps": []}, ["steps: there is no operation; a saga needs one"]),
    "an unknown operation (G25)": (
        {"steps": [step("b", operation="wrok")]},
        ["b: operation: wrok isn't registered; did you mean work@1.0.0?"],
    ),
    "an unknown version": (
        {"steps": [step("b", operation="work@^2")]},
        ["b: operation: work@^2 isn't registered; did you mean work@1.0.0?"],
    ),
    "a range that is none": (
        {"steps": [step("b", operation="work@new")]},
        ["b: operation: work@new: can't read the version range 'new'; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2"],
    ),
    "a circle (G17)": (
        {"steps": [step("a", after=["b"]), step("b", after=["a"])]},
        ["a: after: a circle, a after b after a; take one of these edges out"],
    ),
    "a circle of references": (
        {"steps": [step("a", after=["b"]), step("b", input={"number": REF})]},
        ["a: after: a circle, a after b after a; take one of these edges out"],
    ),
    "a name twice (G21)": (
        {"steps": [step("a"), step("a")]},
        ["a: name: used twice; each step needs its own"],
    ),
    "a name that is none": (
        {"steps": [step("a.undo")]},
        ["a.undo: name: must be letters, digits, '-' and '_', at most 100 of them"],
    ),
    "a name in the namespace of what is no subsaga": (
        {"steps": [step("a"), step("a/b"), {"name": "s", "kind": "subsaga"}, step("s/x"), step("s/t/x")]},
        [
            f"{name}: name: {outer} is no subsaga, and '/' is for the steps of one; choose another name"
            for name, outer in (("a/b", "a"), ("s/t/x", "s/t"))
        ],
    ),
    "no name": ({"steps": [{"operation": "work"}]}, ["steps.0: name: Field required"]),
    "no object": ({"steps": [step("a"), 3]}, ["steps.1: must be an object"]),
    "an unknown field": (
        {"steps": [step("a", tiemout="PT1S")]},
        ["a: tiemout: Extra inputs are not permitted"],
    ),
    "an unknown kind": (
        {"steps": [{"name": "a", "kind": "loop"}]},
        [f"a: {A_KIND}"],
    ),
    "a kind that is no text": (
        {"steps": [{"name": "a", "kind": ["wait"]}]},
        ["a: kind: \"['wait']\" is none; there are operation, constant, wait, approval, subsaga, flow"],
    ),
    "an edge to nowhere": (
        {"steps": [step("a", after=["z", "y"])]},
        [
            "a: after: there is no step 'z'; name one of the plan's",
            "a: after: there is no step 'y'; name one of the plan's",
        ],
    ),
    "an edge to a name that is nearly there": (
        {
            "steps": [
                step("network"),
                step("s/subnet"),
                {"kind": "subsaga", "name": "s", "after": ["s/subnet", "s/subnt"]},
                step("vm", after=["netwrk", "vms", "s/subnt"], input={"number": {"$ref": "netwrok"}}),
            ]
        },
        [
            "s: after: there is no step 's/subnt'; did you mean s/subnet?",
            "vm: after: there is no step 'netwrk'; did you mean network?",
            "vm: after: there is no step 'vms'; name one of the plan's",
            "vm: after: there is no step 's/subnt'; name one of the plan's",
            "vm: input: refers to 'netwrok', and there is no such step; did you mean network?",
        ],
    ),
    "a reference to nowhere": (
        {"steps": [step("a", input={"number": {"$ref": "z"}})]},
        ["a: input: refers to 'z', and there is no such step; name one of the plan's"],
    ),
    "a reference that is none": (
        {"steps": [step("a", input={"number": {"$ref": 3}})]},
        [f"a: {A_REFERENCE}"],
    ),
    "a path that is none": (
        {"steps": [step("a"), step("b", input={"number": {"$ref": "a", "path": "id"}})]},
        [f"b: {A_REFERENCE}"],
    ),
    "a reference with more": (
        {"steps": [step("a"), step("b", input={"number": {"$ref": "a", "pth": ["id"]}})]},
        [f"b: {A_REFERENCE}"],
    ),
    "a literal with more": (
        {"steps": [step("a", input={"others": [{"$literal": {}, "x": 1}]})]},
        ['a: input: a literal dict is {"$literal": {...}}, alone'],
    ),
    "a result that isn't there": (
        {"steps": [step("a")], "result": "b"},
        ["result: there is no step 'b'; name one, or leave it out"],
    ),
    "a result in a subsaga": (
        {
            "steps": [step("s/x"), {"kind": "subsaga", "name": "s", "after": ["s/x"], "result": "s/x"}],
            "result": "s/x",
        },
        ["result: s/x is inside the subsaga s; name s, which has its result"],
    ),
    "a subsaga with nobody's result": (
        {"steps": [step("a"), {"kind": "subsaga", "name": "s", "result": "z"}]},
        ["s: result: z is none of its steps; name one of s/…"],
    ),
    "a subsaga with another's result": (
        {"steps": [step("a"), {"kind": "subsaga", "name": "s", "result": "a"}]},
        ["s: result: a is none of its steps; name one of s/…"],
    ),
    "no undo": (
        {"steps": [step("a", operation="check")]},
        ["a: undo: check@1.0.0 has none; declare one, or say no_undo"],
    ),
    "somebody else's undo": (
        {"steps": [step("a", undo={"type": "check@1.0.0/undo", "retry": {}, "timeout": "PT1S"})]},
        ["a: undo: 'check@1.0.0/undo' isn't that of work@1.0.0; leave it out, and it is filled in"],
    ),
    "an undo and none": (
        {
            "steps": [
                step("a", no_undo=True, undo={"type": "work@1.0.0/undo", "retry": {}, "timeout": "PT1S"})
            ]
        },
        ["a: undo: given, and no_undo too; leave one of them out"],
    ),
    "no time": ({"steps": [step("a", timeout="PT0S")]}, ["a: timeout: must be above zero"]),
    "local, at most once": (
        {"steps": [step("a", local=True, at_most_once=True)]},
        ["a: local: a local step has no task_queue, no at_most_once and no retry_input; leave it out"],
    ),
    "an id that is none": (
        {"id": "a b", "steps": [step("a")]},
        ["the plan: id 'a b' must be letters, digits, '-' and '_', at most 100 of them"],
    ),
    "an id and a version that are none": (
        {"id": "a b", "version": "1.0", "steps": [step("a")]},
        [
            "the plan: id 'a b' must be letters, digits, '-' and '_', at most 100 of them",
            "the plan: version '1.0' of a b must be a full one, such as '1.0.0'",
        ],
    ),
    "a policy that is none": (
        {"policy": {"max_parallel": 0, "on_failure": "explode"}, "steps": [step("a", operation="nope")]},
        [
            "the plan: policy.on_failure: Input should be 'unwind', 'hold', 'keep' or 'continue'",
            "the plan: policy.max_parallel: Input should be greater than or equal to 1",
            "a: operation: nope isn't registered; no name that the modules offer is near",
        ],
    ),
    "what follows from a mistake isn't one": (
        {"steps": [step("a", tiemout=1), step("b", after=["a"], input={"number": REF})], "result": "a"},
        ["a: tiemout: Extra inputs are not permitted"],
    ),
    "what may follow from a field that can't be read isn't told": (
        {
            "steps": [
                step("a", operation="check", no_undo="so", pivot="so"),
                {"kind": "subsaga", "name": "s", "result": 3},
                {"kind": "loop", "name": "l"},
                step("b", pivot=True, local="so", at_most_once=True, input={"number": {"$ref": "s"}}),
                step("c", after=["b"], retry=3, input={"number": {"$ref": "l", "path": ["x"]}}),
            ]
        },
        [
            f"a: no_undo: {BOOL}",
            f"a: pivot: {BOOL}",
            "s: result: Input should be a valid string",
            f"l: {A_KIND}",
            f"b: local: {BOOL}",
            "c: retry: Input should be an object",
        ],
    ),
    "what is no constant may not be referred to": (
        {
            "policy": {"on_failure": "continue", "settle": 3},
            "steps": [
                step("a"),
                {"kind": "loop", "name": "l"},
                step("b", input={"others": [REF, {"$ref": "l"}]}),
            ],
        },
        [
            f"l: {A_KIND}",
            "the plan: policy.settle: Input should be 'wait' or 'cancel'",
            "b: input: refers to a, which may have failed; "
            'with on_failure="continue" no step gets the output of another',
        ],
    ),
    "what may be empty": (
        {"policy": {"allow_empty": "so"}, "steps": []},
        [f"the plan: policy.allow_empty: {BOOL}"],
    ),
}


@pytest.mark.parametrize("case", TYPED)
def test_a_mistake_in_a_typed_plan(case: str) -> None:
    """Each is told by step, field and remedy, whatever else is wrong."""
    value, says = TYPED[case]
    steps = value["steps"]
    head = {key: item for key, item in value.items() if key != "steps"}
    assert typed_mistakes(*steps, **head) == says


def test_only_lines_that_can_be_shown_look_for_a_near_name() -> None:
    """Ten thousand unknown names are told within the time that a plan's checks have."""
    steps = [step(f"n{n}", after=[f"m{n}"]) for n in range(10_000)]
    with pytest.raises(InvalidPlan) as refused:
        typed(*steps)
    first, second, *_ = refused.value.message.split("\n")
    assert first == "typed@1.0.0 can't be run, 10000 mistakes:"
    assert second == "n0: after: there is no step 'm0'; name one of the plan's"


def test_a_large_circle_is_told_at_once() -> None:
    """A circle of 5,000 steps is one line, cut."""
    (line,) = typed_mistakes(*(step(f"n{n}", after=[f"n{(n + 1) % 5000}"]) for n in range(5000)))
    assert line.startswith("n0: after: a circle, n0 after n1 after n2")
    assert len(line) <= 600


@pytest.fixture
def run_plan(temporal: Temporal, task_queue: str, tmp_path: Path) -> Callable[..., Any]:
    """Run a plan file through the CLI: ``await run_plan(client, plan)``."""

    async def run_plan(client: Client, plan: Any) -> WorkflowHandle[Any, Any]:
        file, id = tmp_path / "plan.json", new_id()
        file.write_text(json.dumps(plan))
        command = ("workflow", "start", "--type", "saga", "--task-queue", task_queue, "-w", id)
        await asyncio.to_thread(temporal, *command, "--input-file", str(file))
        return client.get_workflow_handle(id)

    return run_plan


async def test_a_plan_file_runs(
    serve: Serve, world: World, task_queue: str, run_plan: Callable[..., Any], temporal: Temporal
) -> None:
    """`--type saga --input-file`: ranges are resolved, and the CLI's query gives the recorded plan."""
    plan = {
        "id": "by-hand",
        "version": "1.0.0",
        "steps": [
            {"kind": "constant", "name": "five", "value": {"n": 5}},
            step("a", operation="work@^1", input={"number": {"$ref": "five", "path": ["n"]}}),
            step("s/x", input={"number": REF}),
            {"kind": "subsaga", "name": "s", "result": "s/x"},
            step("b", input={"others": [{"$ref": "s", "path": ["id"]}, 1]}),
        ],
        "result": "b",
    }
    async with serve(work) as client:
        handle = await run_plan(client, plan)
        assert await asyncio.wait_for(handle.result(), 30) == {"id": 6, "name": "b"}
        query = ("workflow", "query", "-w", handle.id, "--type", "plan", "-o", "json")
        recorded = json.loads((await asyncio.to_thread(temporal, *query)).stdout)["queryResult"][0]
    assert world.calls == ["a", "s/x", "b"]
    assert [s.get("operation") for s in recorded["steps"]] == [None, *["work@1.0.0"] * 2, None, "work@1.0.0"]
    assert edges(Plan.model_validate(recorded)) == {
        "five": [],
        "a": ["five"],
        "s/x": ["a"],
        "s": ["s/x"],
        "b": ["s"],
    }


async def test_a_plan_file_with_mistakes(
    serve: Serve, world: World, run_plan: Callable[..., Any], task_queue: str
) -> None:
    """G17, G25: FAILED with InvalidPlan that lists all mistakes, and not one call."""
    plan = {
        "id": "bad",
        "version": "1.0.0",
        "steps": [step("a", after=["b"]), step("b", after=["a"]), step("c d")],
    }
    async with serve(work) as client:
        ((kind, message),) = causes(await failure_of(await run_plan(client, plan)))
        ((other, says),) = causes(await failure_of(await run_plan(client, {"steps": [3]})))
    assert (kind, message.split("\n")) == (
        "InvalidPlan",
        [
            "bad@1.0.0 can't be run, 2 mistakes:",
            "c d: name: must be letters, digits, '-' and '_', at most 100 of them",
            "a: after: a circle, a after b after a; take one of these edges out",
        ],
    )
    assert (other, says) == ("InvalidPlan", "saga@0.0.0 can't be run, 1 mistake:\nsteps.0: must be an object")
    assert world.calls == []


def test_input_errors_are_no_plan_errors() -> None:
    """Two different errors: what isn't a plan, and params that don't fit."""
    assert not issubclass(InvalidPlan, InvalidInput)

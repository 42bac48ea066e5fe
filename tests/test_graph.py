"""`counterstep graph` draws a saga or a plan file, or says in one line why not."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Commands, commands
from tests.support import binary

SAGAS = """
from pydantic import BaseModel

from activities import Context, Outcome, operation
from flows import Dag, Sequence, Step, saga


class Vm(BaseModel):
    beside: list[str] = []


@operation(id="create-vm", version="1.2.0")
async def create_vm(ctx: Context[None], input: Vm) -> str:
    return "vm"


@create_vm.undo
async def delete_vm(ctx: Context[None], input: Vm, outcome: Outcome[str]) -> None: ...


class Count(BaseModel):
    n: int = 1


@saga(id="inner", version="1.0.0")
def inner(dag: Dag, params: Count) -> Step[str]:
    return dag.append("x", create_vm, {})


@saga(id="vms", version="1.0.0")
def vms(dag: Dag, params: Count) -> Step[str]:
    first = dag.append("first", create_vm, {})
    dag.append_parallel(*(dag.step(f"n{n}", create_vm, {"beside": [first.ref()]}) for n in range(params.n)))
    dag.constant("one", 1)
    dag.approval("go")
    return dag.subsaga("s", inner, {})


@saga(id="wrong", version="1.0.0")
def wrong(dag: Dag, params: Count) -> None:
    dag.append("a b", create_vm, {})
    dag.append("c", create_vm, {"besides": 1})


class Other(Sequence[int, int], id="other", version="1.0.0"):
    async def run(self, input: int) -> int:
        return input
"""
MERMAID = """\
flowchart TD
  n0["first"]
  n1["n0"]
  n2["n1"]
  n3[/"one"/]
  n4{{"go"}}
  n5["s/x"]
  n6[["s"]]
  n0 --> n1
  n0 --> n2
  n1 --> n4
  n2 --> n4
  n4 --> n5
  n5 --> n6
"""
EDGES = {("first", "n0"), ("first", "n1"), ("n0", "go"), ("n1", "go"), ("go", "s/x"), ("s/x", "s")}
TWO = ("--input", '{"n": 2}')
Graph = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def counterstep() -> Iterator[Commands]:
    """Run the command."""
    with commands() as made:
        yield made


@pytest.fixture
def graph(counterstep: Commands, tmp_path: Path) -> Graph:
    """Run the command in a folder with the module `my_sagas`."""
    (tmp_path / "my_sagas.py").write_text(SAGAS)
    (tmp_path / "broken.py").write_text("1 +\n")
    (tmp_path / "two.json").write_text('{"n": 2}')
    for depth in (500, 5000):
        input = "[" * depth + "]" * depth
        step = f'{{"name": "a", "operation": "x", "input": {input}}}'
        (tmp_path / f"deep-{depth}.json").write_text(f'{{"steps": [{step}]}}')

    def graph(*args: str) -> subprocess.CompletedProcess[str]:
        return counterstep.run(tmp_path, "graph", *args)

    return graph


def drawn(done: subprocess.CompletedProcess[str]) -> str:
    """Give what a call that went well wrote."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_saga_as_mermaid(graph: Graph) -> None:
    """Mermaid unless something else is asked for; the input is a text or a file, `{}` unless given."""
    assert drawn(graph("--module", "my_sagas", "vms", *TWO)) == MERMAID
    assert drawn(graph("--module", "my_sagas", "vms@^1", "--input-file", "two.json")) == MERMAID
    assert drawn(graph("--module", "my_sagas", "vms@1.0.0")).count("-->") == 4


def test_as_it_is_installed(graph: Graph, tmp_path: Path) -> None:
    """The installed command does the same as the ones here, which share their imports."""
    command = [binary("counterstep"), "graph", "--module", "my_sagas", "vms", *TWO]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, drawn(graph(*command[2:])), "")


def test_a_saga_as_dot(graph: Graph, tmp_path: Path) -> None:
    """DOT, to a file: every step with its operation, every edge once."""
    args = ("--module", "my_sagas", "vms", *TWO, "--format", "dot", "-o", "plan.dot")
    assert drawn(graph(*args)) == ""
    text = (tmp_path / "plan.dot").read_text()
    assert text.startswith('digraph "vms" {\n') and text.endswith("\n}\n")
    assert '"first" [label="first\\ncreate-vm@1.2.0"];' in text
    edges = re.findall(r'"(.+)" -> "(.+)";', text)
    assert (len(edges), set(edges)) == (6, EDGES)


def test_a_large_plan_is_warned_of(graph: Graph) -> None:
    """The plan is drawn all the same; the warning is one line beside it."""
    done = graph("--module", "my_sagas", "vms", "--input", '{"n": 12000}', "--format", "dot")
    assert done.returncode == 0 and done.stdout.startswith('digraph "vms"')
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "counterstep graph: warning: vms@1.0.0: what its run carries may pass 1887436 bytes"
    )


def test_a_plan_goes_out_and_in(graph: Graph, tmp_path: Path) -> None:
    """JSON is what `--type saga` takes; `--plan` draws it, also without the module of its operations."""
    graph("--module", "my_sagas", "vms", *TWO, "--format", "json", "-o", "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["steps"][0]["operation"] == "create-vm@1.2.0"
    assert drawn(graph("--plan", "plan.json")) == MERMAID
    again = drawn(graph("--plan", "plan.json", "--module", "my_sagas", "--format", "json"))
    assert again == (tmp_path / "plan.json").read_text()


def test_a_typed_plan_is_drawn_with_the_edges_it_implies(graph: Graph, tmp_path: Path) -> None:
    """A reference is an edge in the drawing too."""
    steps = [{"name": "a", "operation": "x"}, {"name": "b", "operation": "x", "input": {"$ref": "a"}}]
    (tmp_path / "typed.json").write_text(json.dumps({"steps": steps}))
    assert drawn(graph("--plan", "typed.json")) == 'flowchart TD\n  n0["a"]\n  n1["b"]\n  n0 --> n1\n'


SERVED = ("--module", "my_sagas")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "say what to draw: a saga, or --plan with a file"),
    "both": (("vms", "--plan", "two.json"), "say what to draw: a saga, or --plan with a file"),
    "no module": (("vms",), "say with --module where the saga is"),
    "another module": (
        ("--module", "nope", "vms"),
        "there is no module 'nope'; looked in the current folder too",
    ),
    "another saga": (
        (*SERVED, "vns"),
        "saga vns isn't registered; did you mean ",
    ),
    "a sequence": ((*SERVED, "other"), "other@1.0.0 is no saga; only sagas have plans"),
    "input that doesn't fit": (
        (*SERVED, "vms", "--input", '{"n": "x"}'),
        "vms@1.0.0: input doesn't fit Count: n: Input should be a valid integer, unable to parse string as an integer",
    ),
    "input that isn't JSON": (
        (*SERVED, "vms", "--input", "{"),
        "--input isn't JSON: Expecting property name",
    ),
    "two inputs": (
        (*SERVED, "vms", *TWO, "--input-file", "two.json"),
        "give --input or --input-file, not both",
    ),
    "a plan with input": (("--plan", "two.json", *TWO), "a plan file has no input; leave --input and"),
    "no file": (("--plan", "nope.json"), "can't read nope.json: No such file or directory"),
    "a deep plan": (("--plan", "deep-500.json"), "what is to be drawn is nested too deeply"),
    "a deeper plan": (("--plan", "deep-5000.json"), "what is to be drawn is nested too deeply"),
    "no plan": (("--plan", "two.json"), "the input is no plan: a plan is {"),
    "a folder": ((*SERVED, "vms", "-o", "/"), "can't write /: Is a directory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cant_be_drawn(graph: Graph, case: str) -> None:
    """One line on standard error, nothing on standard output, and the exit code 1."""
    args, says = REFUSED[case]
    done = graph(*args)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"counterstep graph: {says}")


def test_a_broken_module(graph: Graph) -> None:
    """What an import raised is shown with its place."""
    done = graph("--module", "broken", "vms")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert (lines[0], lines[-1]) == ("counterstep graph: can't import broken:", "SyntaxError: invalid syntax")


def test_a_plan_with_mistakes(graph: Graph) -> None:
    """A line for the plan, and one for each mistake."""
    done = graph(*SERVED, "wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "counterstep graph: wrong@1.0.0 can't be run, 2 mistakes:",
        "a b: name: must be letters, digits, '-' and '_', at most 100 of them",
        "c: input: besides: Vm has no such field; its fields are: beside",
    ]

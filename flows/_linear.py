"""Linear workflows: steps in a line, run and undone by functions without input, compiled to a saga."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeAlias

from activities import Context, Definition, DefinitionError, EmptyInput, Operation, Outcome, Retry, Skip
from activities._call import call_part
from activities._retry import ONCE
from flows._actions import Compiled
from flows._building import Options
from flows._dag import Dag, no_undo
from flows._names import check_name
from flows._parts import given_hints, of_parts, takes
from flows._policy import Policy
from flows._saga import Saga

StepFunc: TypeAlias = Callable[[Context[Any]], Any]
"""What a step runs, or undoes itself with: ``(ctx)``, ``async def`` or ``def``; what it returns isn't used."""

DEFAULT = Policy(undo_failed_step="always")
"""The policy of a workflow that says none: the failing step's own undo first, the first error counts."""


@dataclass(frozen=True)
class Step:
    """A step of linear workflows: a value, that several of them may list (seed automa: ``Step``, ``RegisterSaga``).

    Attributes:
        id: letters, digits, ``-`` and ``_``.
        run: ``(ctx)``; raises :class:`activities.Skip` where there is nothing to do. A step without one is skipped.
        undo: ``(ctx)``; the same. It isn't called for a step that was skipped, or never ran.
        timeout: of one attempt.
        retry: of its failures; without it one is final.
        undo_retry: of the undo's failures.

    Raises:
        DefinitionError: when something of it is wrong.
    """

    id: str
    run: StepFunc | None = None
    undo: StepFunc | None = None
    timeout: timedelta = field(default=timedelta(minutes=1), kw_only=True)
    retry: Retry = field(default=ONCE, kw_only=True)
    undo_retry: Retry = field(default=Retry(), kw_only=True)

    def __post_init__(self) -> None:
        check_name("step", self.id)
        for name, function in (("run", self.run), ("undo", self.undo)):
            if function is not None:
                takes(function, 1, f"{name} of step {self.id}", "(ctx)")

    def rename(self, id: str) -> Step:
        """Give a copy under another name."""
        return replace(self, id=id)

    def operation(self, definition: Definition) -> Operation[EmptyInput, None]:
        """Make the operation that runs it."""
        run = self.run or _nothing_to_run

        async def handler(ctx: Context[Any], input: EmptyInput) -> None:
            await call_part(run, ctx)

        given_hints(handler, run, input=EmptyInput, result=None)
        of_parts(handler, run)
        made: Operation[EmptyInput, None] = Operation(
            handler, definition, timeout=self.timeout, retry=self.retry
        )
        if self.undo is not None:
            made.undo(retry=self.undo_retry)(_undo(self.undo))
        return made


def _nothing_to_run(ctx: Context[Any]) -> None:
    raise Skip("the step has nothing to run")


def _undo(undo: StepFunc) -> Callable[..., Any]:
    async def handler(ctx: Context[Any], input: EmptyInput, outcome: Outcome[None]) -> None:
        await call_part(undo, ctx)

    of_parts(handler, undo)
    return handler


@dataclass(frozen=True, eq=False)
class Workflow:
    """Steps in a line; a flow, started like any other, without an input (seed automa: ``Workflow``).

    In another workflow's list it is a step: its own steps are ``id/step`` there, and are undone in its place.

    Attributes:
        id: letters, digits, ``-`` and ``_``; with the version, the workflow type.
        steps: of different names; other workflows may be among them.
        version: a full semantic version.
        policy: what happens when a step fails. Inside another workflow, that one's holds.
        description: one line.

    Raises:
        DefinitionError: when it has no step and its policy doesn't allow that, or two steps have one name.
    """

    id: str
    steps: Sequence[Step | Workflow]
    version: str = field(default="1.0.0", kw_only=True)
    policy: Policy = field(default=DEFAULT, kw_only=True)
    description: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_name("workflow", self.id)
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps and not self.policy.allow_empty:
            raise DefinitionError(f"workflow {self.id}: its list of steps is empty; give it one at least")
        names: set[str] = set()
        for step in self.steps:
            self._check(step, names)
            names.add(step.id)

    def _check(self, step: Any, names: set[str]) -> None:
        if not isinstance(step, (Step, Workflow)):
            raise DefinitionError(f"workflow {self.id}: {step!r} is no step")
        if step.id in names:
            raise DefinitionError(
                f"workflow {self.id}: step {step.id} is there twice; .rename() one of them, or list it under another id"
            )
        if isinstance(step, Workflow) and not step.steps:
            raise DefinitionError(f"workflow {self.id}: workflow {step.id} in it has no steps; leave it out")

    def rename(self, id: str) -> Workflow:
        """Give a copy under another name."""
        return replace(self, id=id)

    @property
    def flow(self) -> Saga[EmptyInput, None]:
        """The saga that it is: for :func:`flows.start`, ``.plan(EmptyInput())``, drawings."""
        return self._compiled.flow

    @property
    def definitions(self) -> tuple[Any, ...]:
        """What a worker serves of it: ``Registry(*workflow.definitions)``."""
        return self._compiled.definitions

    @cached_property
    def _compiled(self) -> Compiled:
        operations = {
            step.id: step.operation(Definition(f"{self.id}:{step.id}", self.version, _text(step)))
            for step in self.steps
            if isinstance(step, Step)
        }

        def build(dag: Dag, params: EmptyInput) -> None:
            for step in self.steps:
                if isinstance(step, Workflow):
                    dag.subsaga(step.id, step.flow, params)
                else:
                    undo: Options = {} if step.undo else {"undo": no_undo}
                    dag.append(step.id, operations[step.id], params, **undo)

        inner = [op for step in self.steps if isinstance(step, Workflow) for op in step._compiled.operations]
        definition = Definition(self.id, self.version, self.description)
        return Compiled(
            Saga(build, definition, self.policy), tuple(dict.fromkeys((*operations.values(), *inner)))
        )


def _text(step: Step) -> str:
    return (inspect.getdoc(step.run) or "").split("\n")[0] if step.run else ""


class StepRegistry:
    """Steps by the names under which workflows list them (seed automa: ``StepRegistry``).

    A name is the step's name everywhere: one that is registered as ``{"alias": step}`` runs, and is reported, as ``alias``.
    """

    def __init__(self, *steps: Step | Workflow) -> None:
        """Begin with some steps, under their own names."""
        self._steps: dict[str, Step | Workflow] = {}
        for step in steps:
            self.register({step.id: step})

    def register(self, steps: Mapping[str, Step | Workflow]) -> StepRegistry:
        """Add steps, or workflows that are steps of others (seed: ``RegisterSteps``).

        Args:
            steps: by the names under which workflows list them.

        Returns:
            This registry.

        Raises:
            DefinitionError: when another step has the name, or it is malformed.
        """
        for id, step in steps.items():
            named = step if step.id == id else step.rename(id)
            if self._steps.setdefault(id, named) != named:
                raise DefinitionError(f"step {id} is registered already; give one of them another name")
        return self

    def get(self, id: str) -> Step | Workflow | None:
        """Give a step, if there is one under this name (seed: ``GetStep``)."""
        return self._steps.get(id)

    def build_workflow(
        self,
        id: str,
        step_ids: Sequence[str],
        *,
        version: str = "1.0.0",
        policy: Policy = DEFAULT,
        description: str = "",
    ) -> Workflow:
        """Build a workflow of registered steps.

        Args:
            id: of the workflow.
            step_ids: in the order in which they run.
            version: a full semantic version.
            policy: ``Policy.automa()`` is the seed's way.
            description: one line.

        Raises:
            DefinitionError: naming the first step that isn't registered, or that is there twice; or when there is none.
        """
        for step_id in step_ids:
            if step_id not in self._steps:
                raise DefinitionError(f"invalid step: {step_id}")
        steps = [self._steps[step_id] for step_id in step_ids]
        return Workflow(id, steps, version=version, policy=policy, description=description)

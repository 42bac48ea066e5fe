"""Actions: jobs in a line, compiled to a saga; and their registration by application."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import GenericAlias
from typing import Any

from activities import Definition, DefinitionError, DefinitionExists, Operation
from flows._building import Options
from flows._dag import Dag, Step, no_undo
from flows._jobs import Job
from flows._names import check_name
from flows._policy import Policy
from flows._saga import Saga


@dataclass(frozen=True)
class Compiled:
    """A façade's flow, ready to be served.

    Attributes:
        flow: the saga.
        operations: that its plans name.
    """

    flow: Saga[Any, Any]
    operations: tuple[Operation[Any, Any], ...]

    @property
    def definitions(self) -> tuple[Any, ...]:
        """All of it, for a :class:`activities.Registry`."""
        return (self.flow, *self.operations)


@dataclass(frozen=True, eq=False)
class Action:
    """Jobs in a line: each one's output is the next one's input, the last one's the result (seed actions).

    A failure rolls back the failing job, then those before it, newest first. It is started like any flow, as ``name``;
    registered with an :class:`ActionService`, as ``application/name``.

    Attributes:
        name: of the workflow type; may be left to :meth:`ActionService.register`.
        jobs: at least one, of different names.
        version: a full semantic version: a run keeps the jobs that it began with, so jobs that change get a new one.
        policy: what happens when a job fails.
        description: one line.

    Raises:
        DefinitionError: when there is no job, or two have one name.
    """

    name: str
    jobs: Sequence[Job]
    version: str = field(default="1.0.0", kw_only=True)
    policy: Policy = field(default_factory=Policy.actions, kw_only=True)
    description: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "jobs", tuple(self.jobs))
        self._check()

    def _check(self) -> None:
        who = f"action {self.name}" if self.name else "an action without a name"
        if self.name:
            check_name("action", self.name)
        if not self.jobs:
            raise DefinitionError(f"{who}: its list of jobs is empty; give it one at least")
        names: set[str] = set()
        for job in self.jobs:
            if not isinstance(job, Job):
                raise DefinitionError(f"{who}: {job!r} is no job")
            if job.name in names:
                raise DefinitionError(f"{who}: two jobs have the name {job.name}; .rename() one of them")
            names.add(job.name)

    @property
    def flow(self) -> Saga[Any, Any]:
        """The saga that it is: for :func:`flows.start`, ``.plan(input)``, drawings."""
        return self._compiled.flow

    @property
    def definitions(self) -> tuple[Any, ...]:
        """What a worker serves of it: ``Registry(*action.definitions)``."""
        return self._compiled.definitions

    @cached_property
    def _compiled(self) -> Compiled:
        if not self.name:
            raise DefinitionError("an action without a name can't be served; name it, or register it")
        return compiled(self, self.name)


def compiled(action: Action, id: str) -> Compiled:
    """Compile an action under a workflow type."""
    operations = tuple(_operation(job, id, action.version) for job in action.jobs)

    def build(dag: Dag, params: Any) -> Step[Any]:
        steps: list[Step[Any]] = []
        for job, operation in zip(action.jobs, operations, strict=True):
            undo: Options = {} if job.rollback else {"undo": no_undo}
            steps.append(dag.append(job.name, operation, steps[-1].ref() if steps else params, **undo))
        return steps[-1]

    first, last = operations[0].input.type, operations[-1].output.type
    build.__annotations__ = {"dag": Dag, "params": first, "return": GenericAlias(Step, (last,))}
    return Compiled(
        Saga(build, Definition(id, action.version, action.description), action.policy), operations
    )


def _operation(job: Job, action: str, version: str) -> Operation[Any, Any]:
    text = (inspect.getdoc(job.execute) or "").split("\n")[0]
    return job.operation(Definition(f"{action}:{job.name}", version, text))


class ActionService:
    """Actions by application (seed actions: ``Servicer``): one attribute of a module, and all of them are served."""

    def __init__(self) -> None:
        """Begin with none."""
        self._compiled: dict[tuple[str, str], Compiled] = {}
        self._actions: list[Action] = []

    def register(self, application: str | None, name: str, action: Action) -> Saga[Any, Any]:
        """Register an action; its workflow type is ``application/name``, or ``name`` without an application.

        Args:
            application: letters, digits, ``-`` and ``_``; or ``None``.
            name: the same, whatever name the action had.
            action: its jobs may be in other actions too.

        Returns:
            The flow: for :func:`flows.start`, ``.plan(input)``, drawings.

        Raises:
            DefinitionError: when there is no action, or a name is missing or malformed.
            DefinitionExists: when that type is registered in this version; the one that is there stays.
        """
        if not isinstance(action, Action):
            raise DefinitionError(f"register: {action!r} is no action")
        if not name:
            raise DefinitionError("register: an action needs a name")
        check_name("action", name)
        if application:
            check_name("application", application)
        id = f"{application}/{name}" if application else name
        if (id, action.version) in self._compiled:
            raise DefinitionExists(
                f"action {id}@{action.version} is registered already; give one a new version"
            )
        made = self._compiled[id, action.version] = compiled(action, id)
        self._actions.append(action)
        return made.flow

    @property
    def definitions(self) -> tuple[Any, ...]:
        """What a worker serves of it: ``Registry(*service.definitions)``."""
        return tuple(entry for made in self._compiled.values() for entry in made.definitions)

    def has(self, action: Action) -> bool:
        """Whether an action is registered here, under whichever name."""
        return any(mine is action for mine in self._actions)

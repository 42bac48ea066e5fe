"""User modules: what they offer, and the check that nothing is missing before a worker polls."""

from __future__ import annotations

import builtins
import dis
import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from collections.abc import Sequence as Many
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from temporalio.converter import DataConverter

from activities import CounterstepError, DefinitionError, DefinitionExists, Operation, Registry, SecretSource
from flows._actions import Action, ActionService
from flows._linear import Workflow
from flows._parts import parts_of
from flows._plugin import Lifespan
from flows._saga import Saga
from flows._sequence import Sequence
from flows._traces import told

OURS = ("activities", "flows", "worker", "counterstep")


@dataclass(frozen=True)
class Module:
    """What some user modules offer together.

    Attributes:
        registry: their operations and flows.
        lifespan: yields the dependencies, if they have any.
        data_converter: theirs, if they have one.
        secrets: theirs, if they have one.
    """

    registry: Registry
    lifespan: Lifespan | None = None
    data_converter: DataConverter | None = None
    secrets: SecretSource | None = None


def load_modules(names: Many[str]) -> Module:
    """Import modules, also from the current folder, and take what their public attributes offer.

    Args:
        names: as one would import them.

    Raises:
        DefinitionError: one message that names every gap.
    """
    _shadowed()
    modules = [_import(name) for name in names]
    registry = Registry()
    gaps = list(_fill(registry, modules))
    if gaps:
        raise DefinitionError(
            "\n".join([f"can't serve {', '.join(names)}:", *(f"- {gap}" for gap in dict.fromkeys(gaps))])
        )
    return Module(
        registry,
        _lifespan([module.lifespan for module in modules if hasattr(module, "lifespan")]),
        _only(modules, "data_converter"),
        _only(modules, "secrets"),
    )


def offered(name: str) -> list[Any]:
    """Give what the public attributes of a module offer."""
    return list(_offers(_import(name)))


def _fill(registry: Registry, modules: Many[ModuleType]) -> Iterator[str]:
    """Register what modules offer, and say what is wrong with it."""
    offered = [value for module in modules for value in _offers(module)]
    for entry in offered:
        try:
            registry.register(entry)
        except DefinitionExists as error:
            yield error.message
    for entry in offered:
        yield from _gaps(entry, registry)
    if not offered:
        yield "no public attribute is an operation or a flow"
    for module in modules:
        yield from _undecorated(module)


def _import(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        where = "" if error.name == name else f", which {name} imports"
        raise DefinitionError(
            f"there is no module {error.name!r}{where}; looked in the current folder too"
        ) from None
    except CounterstepError:
        raise
    except Exception as error:
        raise DefinitionError(f"can't import {name}:\n{told(error)}") from None


def _shadowed() -> None:
    """Refuse a local file that one of our own packages hides."""
    for name in OURS:
        own = Path(getattr(sys.modules.get(name), "__file__", None) or __file__).resolve()
        for local in (Path(f"{name}.py"), Path(name) / "__init__.py"):
            if local.is_file() and local.resolve() != own and Path.cwd().resolve() not in own.parents:
                raise DefinitionError(f"{local} is hidden by our own package {name!r}; give it another name")


def _offers(module: ModuleType) -> Iterator[Any]:
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    services = [value for value in public if isinstance(value, ActionService)]
    for value in public:
        if _is_definition(value):
            yield value
        elif isinstance(value, ActionService) or _stands_alone(value, services):
            yield from value.definitions


def _stands_alone(value: Any, services: list[ActionService]) -> bool:
    """Whether it is served under its own name: a linear workflow, or an action that no service of the module has."""
    if isinstance(value, Workflow):
        return True
    return isinstance(value, Action) and bool(value.name) and not any(s.has(value) for s in services)


def _undecorated(module: ModuleType) -> Iterator[str]:
    if inspect.isasyncgenfunction(getattr(module, "lifespan", None)):
        yield f"lifespan of {module.__name__} isn't a context manager; put @asynccontextmanager above it"


def _only(modules: Many[ModuleType], name: str) -> Any:
    offered = [(module.__name__, getattr(module, name, None)) for module in modules]
    found = [
        (module, value)
        for module, value in offered
        if value is not None and not isinstance(value, ModuleType)
    ]
    if len({id(value) for _, value in found}) > 1:
        raise DefinitionError(
            f"{name} is in {' and '.join(module for module, _ in found)}; only one may have it"
        )
    return found[0][1] if found else None


def _lifespan(lifespans: Many[Lifespan]) -> Lifespan | None:
    if len(lifespans) < 2:
        return lifespans[0] if lifespans else None

    @asynccontextmanager
    async def together() -> AsyncIterator[dict[Any, Any]]:
        async with AsyncExitStack() as stack:
            yielded = [await stack.enter_async_context(lifespan()) for lifespan in lifespans]
            merged: dict[Any, Any] = {}
            for deps in yielded:
                merged |= deps if isinstance(deps, dict) else {type(deps): deps}
            yield merged

    return together


def _gaps(entry: Any, registry: Registry) -> Iterator[str]:
    """Say what the code of a definition names and isn't there."""
    known = {id(value) for value in registry}
    for function in _functions(entry):
        # Which comes first differs from one Python to the next.
        for path, value in sorted(_globals_of(function), key=itemgetter(0)):
            who = f"{entry.definition} uses {path}"
            if value is _MISSING:
                yield f"{who}, which isn't there"
            elif _is_definition(value) and id(value) not in known:
                yield f"{who} ({value.definition}), which no module offers as a public attribute"


def _functions(entry: Any) -> list[Any]:
    if isinstance(entry, Operation):
        undo = entry.undo_handler
        found = [entry.handler, entry.retry_input_handler, undo and undo.handler]
    elif isinstance(entry, Saga):
        found = [entry.builder]
    else:
        found = [entry._body, *(v for v in vars(entry).values() if callable(v))]
    return [
        f
        for handler in found
        for f in parts_of(handler)
        if hasattr(f, "__code__") and f.__module__ not in OURS and "flows." not in f.__module__
    ]


def _is_definition(value: Any) -> bool:
    return isinstance(value, (Operation, Saga)) or (
        isinstance(value, type) and issubclass(value, Sequence) and "definition" in vars(value)
    )


_MISSING = object()


def _globals_of(function: Any) -> Iterator[tuple[str, Any]]:
    """Give what a function and those in it read from its module: ``name``, or ``module.name``."""
    for code in _codes(function.__code__):
        found: Any = None
        path = ""
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                path, found = str(instruction.argval), _global(function, str(instruction.argval))
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(found, ModuleType):
                path, found = (
                    f"{path}.{instruction.argval}",
                    getattr(found, str(instruction.argval), _MISSING),
                )
            else:
                found = None
                continue
            yield path, found


def _global(function: Any, name: str) -> Any:
    return function.__globals__.get(name, getattr(builtins, name, _MISSING))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)

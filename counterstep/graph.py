"""The command ``counterstep graph``: draws a saga's plan, without Temporal."""

from __future__ import annotations

import json
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import PydanticSerializationError

from activities import CounterstepError, OperationNotFound, UnknownFlow
from flows import LargePlan, Module, Plan, Saga, load_modules
from flows._plan_read import checked_plan, drawn_plan


class Format(StrEnum):
    """How a plan is drawn."""

    mermaid = "mermaid"
    dot = "dot"
    json = "json"


class _Refused(Exception):
    """What was asked for can't be drawn; the message says why."""


def graph(
    saga: Annotated[str | None, typer.Argument(help="A saga: id, id@range or id@version.")] = None,
    module: Annotated[
        list[str] | None, typer.Option(help="A module with sagas and operations; repeatable.")
    ] = None,
    input: Annotated[str | None, typer.Option(help="The saga's params, as JSON; {} unless given.")] = None,
    input_file: Annotated[Path | None, typer.Option(help="A file with the params.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan file instead of a saga, as --type saga takes it.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.mermaid,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; standard output unless given.")
    ] = None,
) -> None:
    """Draw the plan of a saga, or a plan file, as Mermaid, DOT or JSON."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", LargePlan)
            found = _plan(saga, tuple(module or ()), input, input_file, plan)
        for warning in told:
            typer.echo(f"counterstep graph: warning: {warning.message}", err=True)
        _write(_drawn(found, format), output)
    except (CounterstepError, _Refused) as error:
        typer.echo(f"counterstep graph: {getattr(error, 'message', error)}", err=True)
        raise typer.Exit(1) from None
    except (RecursionError, PydanticSerializationError):
        typer.echo("counterstep graph: what is to be drawn is nested too deeply", err=True)
        raise typer.Exit(1) from None


def _plan(
    saga: str | None, modules: tuple[str, ...], input: str | None, input_file: Path | None, plan: Path | None
) -> Plan:
    if (saga is None) == (plan is None):
        raise _Refused("say what to draw: a saga, or --plan with a file")
    if plan is not None and (input is not None or input_file is not None):
        raise _Refused("a plan file has no input; leave --input and --input-file out")
    if input is not None and input_file is not None:
        raise _Refused("give --input or --input-file, not both")
    if plan is not None:
        value = _json(_text(plan), str(plan))
        return checked_plan(value, load_modules(modules).registry) if modules else drawn_plan(value)
    if not modules:
        raise _Refused("say with --module where the saga is")
    text = "{}" if input is None else input
    params = _json(_text(input_file), str(input_file)) if input_file else _json(text, "--input")
    return _built(load_modules(modules), str(saga), params)


def _built(module: Module, name: str, params: Any) -> Plan:
    try:
        found = module.registry.retrieve(name)
    except OperationNotFound as error:
        raise UnknownFlow(f"saga {error.message}") from None
    if not isinstance(found, Saga):
        raise _Refused(f"{found.definition} is no saga; only sagas have plans")
    who = f"{found.definition}: input"
    return found.plan(found.input.load_value(params, who), module.registry)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise _Refused(f"can't read {file}: {reason}") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _Refused(f"{where} isn't JSON: {error}") from None


def _drawn(plan: Plan, format: Format) -> str:
    if format is Format.json:
        return json.dumps(plan.to_json(), indent=2, ensure_ascii=False)
    return plan.dot() if format is Format.dot else plan.mermaid()


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n")
    except OSError as error:
        raise _Refused(f"can't write {output}: {error.strerror}") from None

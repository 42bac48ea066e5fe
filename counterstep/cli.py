"""The operator's command."""

from __future__ import annotations

import typer

from counterstep.doctor import doctor
from counterstep.export import export
from counterstep.gateway_command import gateway
from counterstep.graph import graph
from counterstep.report import report
from counterstep.undo import undo
from counterstep.watch import watch
from worker import run, worker

app = typer.Typer(
    name="counterstep",
    help="Durable operations on Temporal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(worker)
app.command()(undo)
app.command()(graph)
app.command()(report)
app.command()(watch)
app.command()(export)
app.command()(doctor)
app.command()(gateway)


@app.callback()
def counterstep() -> None:
    """Durable operations on Temporal: every step has its counter-step."""


def main() -> None:
    """Run the command."""
    run(app)


if __name__ == "__main__":
    main()

"""Launching a simulation: fifteen jobs in a line, five of them fitted from generic ones by hooks."""

from __future__ import annotations

from examples.simulation.jobs import (
    Condition,
    Node,
    Simulation,
    announce,
    check,
    create_folder,
    describe_world,
    launch,
    make_key,
    reserve_slot,
    status,
    wait_for,
)
from flows import Action, ActionService


def _world(simulation: Simulation) -> list[Node]:
    return [Node(node="world", command=["world"])]


def _robots(simulation: Simulation) -> list[Node]:
    return [Node(node=f"robot-{name}", command=["robot", "--name", name]) for name in simulation.robots]


def _recorder(simulation: Simulation) -> list[Node]:
    return [Node(node="recorder", command=["recorder"])]


launch_simulation = Action(
    "launch",
    [
        reserve_slot,
        create_folder,
        status("preparing"),
        describe_world,
        make_key,
        status("launching"),
        launch("world", _world),
        wait_for("world", lambda simulation: Condition(name=simulation.name)),
        launch("robots", _robots),
        wait_for("robots", lambda simulation: Condition(name=simulation.name, robots=len(simulation.robots))),
        launch("recorder", _recorder),
        wait_for("recorder", lambda simulation: Condition(name=simulation.name, records=2)),
        announce,
        status("running"),
        check,
    ],
    description="Launch a simulation, or leave nothing of it.",
)

service = ActionService()
service.register("simulations", "launch", launch_simulation)

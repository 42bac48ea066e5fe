"""A flow as a Mermaid flowchart, coloured by how its steps stand."""

from __future__ import annotations

from typing import Any

from counterstep.reports._report import Report
from counterstep.reports._shape import shape_of

AnyReport = Report[Any, Any]
_SHAPES = {
    "constant": ("[/", "/]"),
    "wait": ("([", "])"),
    "approval": ("{{", "}}"),
    "subsaga": ("[[", "]]"),
    "child": ("[[", "]]"),
}
_CLASSES = {
    "done": "fill:#d7f2e3,stroke:#1f8a54,color:#0b3a22",
    "failed": "fill:#fbdcdc,stroke:#c43d3d,color:#551414",
    "unknown": "fill:#efdffb,stroke:#8a46c2,color:#3b1758",
    "skipped": "fill:#eef0f3,stroke:#8a93a3,color:#3a4150",
    "undone": "fill:#e3e8f7,stroke:#5b74c7,color:#1c2b63",
    "stuck": "fill:#ffe3c2,stroke:#d07a13,color:#573003",
    "open": "fill:#d9ecff,stroke:#2f7fd1,color:#0d3560",
    "idle": "fill:#ffffff,stroke:#b6bdc9,color:#6b7482,stroke-dasharray:4 3",
}
_CLASS_OF = {
    "approved": "done",
    "not approved": "failed",
    "interrupted": "skipped",
    "not undone": "stuck",
    "held": "stuck",
    "parked": "stuck",
    "not started": "idle",
}


def class_of(state: str) -> str:
    """Give the colour's name of a state."""
    named = _CLASS_OF.get(state, state)
    return named if named in _CLASSES else "open"


def mermaid(flow: AnyReport) -> str:
    """Draw a flow: a saga's plan, or what happened in another flow; colours say how each step stands."""
    nodes = shape_of(flow)
    numbers = {node.name: f"n{index}" for index, node in enumerate(nodes)}
    lines = ["flowchart TD"]
    for node in nodes:
        left, right = _SHAPES.get(node.kind, ("[", "]"))
        label = f"{node.name}<br/>{node.state}".replace('"', "#quot;")
        lines.append(f'  {numbers[node.name]}{left}"{label}"{right}:::{class_of(node.state)}')
    lines += [
        f"  {numbers[before]} --> {numbers[node.name]}"
        for node in nodes
        for before in node.after
        if before in numbers
    ]
    used = dict.fromkeys(class_of(node.state) for node in nodes)
    lines += [f"  classDef {name} {_CLASSES[name]}" for name in used]
    return "\n".join(lines)

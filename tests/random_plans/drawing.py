"""Drawing trees, faults and policies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SHORT = "PT0.01S"


LARGEST = 30


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a tree of at most thirty leaves, and what goes wrong in it: late rather than early, in several places."""
    nodes = _named(
        draw(st.lists(_node(2), min_size=3, max_size=10).filter(lambda n: len(_leaves(n)) <= LARGEST))
    )
    found = _leaves(nodes)[::-1]  # a failure in the first step would hide all others
    for leaf in _some(draw, found, 1, 3):
        leaf["fault"] = draw(st.sampled_from(["fail", "unknown", "flaky"]))
    for leaf in _some(draw, found, draw(st.integers(0, 3)), 6):
        leaf["undo_fault"] = draw(st.sampled_from(["fail", "flaky"]))
    for leaf in _some(draw, found, 0, 4):
        leaf["slow"] = True
    return nodes


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any] | None]:
    """Draw a tree with a policy, and what is asked of it once so many calls were made.

    Some have a pivot, where no failure beside it leaves open whether it was scheduled.
    """
    nodes, policy = draw(trees()), draw(policies())
    asked = st.fixed_dictionaries({"after": st.integers(1, 20), "how": st.sampled_from(["cancel", "stop"])})
    found = _leaves(nodes)
    pivot = draw(st.none() | st.none() | st.integers(0, len(found) - 1))
    for number, leaf in enumerate(found):
        cancelling = [one.get("settle") == "cancel" for one in _around(leaf, nodes, policy)]
        if number == pivot and not (any(cancelling) or leaf.get("called")):
            leaf["pivot"] = True
    return nodes, policy, draw(st.none() | st.none() | asked)


def _around(
    leaf: dict[str, Any], nodes: list[dict[str, Any]], policy: dict[str, Any]
) -> list[dict[str, Any]]:
    """Give the policies of the flows that a leaf is in, outermost first."""
    node = next(node for node in nodes if any(leaf is one for one in _leaves([node])))
    if not _inner(node):
        return [policy]
    inner = _around(leaf, _inner(node), node.get("policy", policy))
    return [policy, *inner] if "policy" in node else inner


def _some(draw: st.DrawFn, leaves: list[dict[str, Any]], least: int, most: int) -> list[dict[str, Any]]:
    """Pick some leaves, the first rather than the last."""
    numbers = st.lists(
        st.integers(0, len(leaves) - 1), min_size=min(least, len(leaves)), max_size=most, unique=True
    )
    return [leaves[number] for number in draw(numbers)]


def _leaves(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [leaf for n in nodes for leaf in (_leaves(_inner(n)) if _inner(n) else [n])]


def _inner(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the nodes in a stage, a subsaga or a child; a leaf has none."""
    found: list[dict[str, Any]] = node.get("beside") or node.get("nodes") or node.get("child") or []
    return found


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a leaf."""
    return st.fixed_dictionaries({}, optional={"no_undo": st.just(True), "local": st.just(True)})


def _node(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    if depth == 0:
        return leaves()
    inner = _node(depth - 1)
    single = leaves() | _sub(inner) | _child(depth)
    return st.one_of(leaves(), leaves(), _sub(inner), _child(depth), _stage(single))


def _sub(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda found: {"nodes": found}, st.lists(inner, min_size=1, max_size=3))


def _stage(single: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda found: {"beside": found}, st.lists(single, min_size=1, max_size=4))


def _child(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a child flow: a saga, or a sequence, which knows neither subsagas nor what plans say of steps."""
    saga = {"child": st.lists(_node(depth - 1), min_size=1, max_size=3), "policy": policies()}
    walk = {"child": st.lists(_called(depth - 1), min_size=1, max_size=3), "policy": policies(plan=False)}
    return st.fixed_dictionaries(saga) | st.fixed_dictionaries({**walk, "sequence": st.just(True)})


def _called(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    called = st.fixed_dictionaries({"called": st.just(True)}, optional={"local": st.just(True)})
    return st.one_of(called, called, _child(depth), _stage(called | _child(depth))) if depth else called


def _named(nodes: list[dict[str, Any]], start: int = 0) -> list[dict[str, Any]]:
    """Give the nodes of one namespace their names."""
    named, count = [], start
    for node in nodes:
        if "beside" in node:
            beside = _named(node["beside"], count)
            named.append({"beside": beside})
            count += len(beside)
        else:
            kind = next((kind for kind in ("nodes", "child") if kind in node), "")
            inner = {kind: _named(node[kind])} if kind else {}
            named.append({**node, **inner, "name": f"{kind[:1] or 'x'}{count}"})
            count += 1
    return named


def policies(*, plan: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a policy as JSON, that of a plan or of a sequence; holds and parked undos end by themselves, at once."""
    of_plans: dict[str, Any] = {
        "settle": st.sampled_from(["wait", "cancel"]),
        "max_parallel": st.sampled_from([1, 2, 64]),
        "deadline": st.sampled_from([None, None, None, None, "PT0.2S", "PT0.6S"]),
    }
    drawn = st.fixed_dictionaries(
        {"hold_timeout": st.just(SHORT)},
        optional={
            "on_failure": st.sampled_from(
                ["unwind", "unwind", "hold", "hold", "keep", *(["continue"] if plan else [])]
            ),
            "then": st.sampled_from(["unwind", "unwind", "keep"]),
            "undo_failed_step": st.sampled_from(["unknown", "always", "never"]),
            "on_undo_failure": st.sampled_from(["continue", "stop", "park"]),
            **(of_plans if plan else {}),
        },
    )
    return drawn.map(lambda policy: {name: value for name, value in policy.items() if value is not None})

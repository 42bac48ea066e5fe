"""Definitions, and looking them up."""

from __future__ import annotations

from typing import Any

import pytest

from activities import (
    Context,
    Definition,
    DefinitionError,
    DefinitionExists,
    Operation,
    OperationNotFound,
    Registry,
)
from activities import operation as declare


def op(name: str) -> Operation[int, int]:
    id_, _, version = name.partition("@")

    @declare(id=id_, version=version)
    async def handler(ctx: Context[Any], input: int) -> int:
        return input * 2

    return handler


@pytest.mark.parametrize(
    "version", ["1.0", "1", "v1.0.0", "v1.0", "", "1.0.0.0", "01.0.0", "1.0.0\n", "^1.0.0", " 1.0.0"]
)
def test_a_version_in_parts_is_refused(version: str) -> None:
    """OPS-04: declared versions are full semantic ones."""
    with pytest.raises(DefinitionError) as caught:
        Definition("double", version)
    assert caught.value.message == f"version {version!r} of double must be a full one, such as '1.0.0'"


@pytest.mark.parametrize(
    "id_", ["", "a b", "a@b", "a/b/c", "/a", "a/", "a:b:c", "ä", "-a", "_a", "a\n", "a.b", "x" * 101]
)
def test_an_id_is_letters_digits_dash_underscore(id_: str) -> None:
    """Any other id is refused, quoting it."""
    with pytest.raises(DefinitionError) as caught:
        Definition(id_, "1.0.0")
    assert caught.value.message == f"id {id_!r} must be letters, digits, '-' and '_', at most 100 of them"


@pytest.mark.parametrize("id_", ["a/b", "a:b", "a/b:c"])
def test_ids_with_parts_are_for_actions_and_their_jobs(id_: str) -> None:
    """A definition may have them; an operation that a user declares may not."""
    assert str(Definition.parse(f"{id_}@1.0.0")) == f"{id_}@1.0.0"
    with pytest.raises(DefinitionError) as caught:

        @declare(id=id_, version="1.0.0")
        async def op(ctx: Context[None], input: int) -> int:
            return input

    assert caught.value.message == f"id {id_!r} must be letters, digits, '-' and '_', at most 100 of them"


def test_a_definition_is_named_id_at_version() -> None:
    """``str`` and ``parse`` are each other's inverse, pre-release and build included."""
    made = Definition("launch-1_x", "1.0.0-rc.1+abc", "Launch.")
    assert str(made) == "launch-1_x@1.0.0-rc.1+abc"
    assert Definition.parse(str(made)) == made


def test_the_description_is_no_part_of_equality() -> None:
    """An edited text names the same operation; another patch or build another one."""
    assert Definition("a", "1.0.0", "d") == Definition("a", "1.0.0", "d2")
    assert len({Definition("a", v) for v in ("1.0.0", "1.0.1", "1.0.0+abc", "1.0.0")}) == 3


def test_retrieve_by_definition_name_range_and_id() -> None:
    """Exact, newest in a range, or newest: the very operation that was registered."""
    one, two, four, pre = (op(f"double@{v}") for v in ("1.0.0", "1.2.0", "1.4.0", "2.0.0-rc.1"))
    registry = Registry(four, pre, one, two)
    names = (
        one.definition,
        "double@1.2.0",
        "double@^1.2",
        "double@~1.2",
        "double@1",
        "double",
        "double@2.0.0-rc.1",
    )
    assert [registry.retrieve(name) for name in names] == [one, two, four, two, four, four, pre]


def test_a_retrieved_operation_keeps_its_types() -> None:
    """What is retrieved by name computes with ints, not floats, as the declared one does."""
    found = Registry(op("double@1.0.0")).retrieve("double")
    assert (found.input.type, found.output.type) == (int, int)
    assert repr(found.output.load(b"8", "output")) == "8"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("create-netwrok", "create-netwrok isn't registered; did you mean create-network@1.2.0?"),
        ("create-network@2", "create-network@2 isn't registered; did you mean create-network@1.2.0?"),
        ("create-network@1.2.1", "create-network@1.2.1 isn't registered; did you mean create-network@1.2.0?"),
        ("zzz@1.0.0", "zzz@1.0.0 isn't registered; no name that the modules offer is near"),
        ("delete@", "delete@: can't read the version range ''; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2"),
        (
            "delete@new",
            "delete@new: can't read the version range 'new'; write ^1.2, ~1.2, 1, 1.2 or >=1.2,<2",
        ),
    ],
)
def test_unknown_names_the_near_ones(name: str, message: str) -> None:
    """What isn't there is ``OperationNotFound``, with near names."""
    registry = Registry(op("create-network@1.2.0"), op("delete@1.0.0"))
    with pytest.raises(OperationNotFound) as caught:
        registry.retrieve(name)
    assert caught.value.message == message


def test_an_empty_registry_says_so() -> None:
    """No name is near when there is none."""
    with pytest.raises(OperationNotFound) as caught:
        Registry().retrieve("double")
    assert caught.value.message == "double isn't registered; none is registered here"


def test_the_same_version_twice_is_refused_unless_replaced() -> None:
    """OPS-63: another one of the same id and version is an error; with ``replace=True`` the later is retrieved."""
    first, second = op("double@1.0.0"), op("double@1.0.0")
    registry = Registry(first)
    with pytest.raises(DefinitionExists) as caught:
        registry.register(second)
    assert caught.value.message == (
        "double@1.0.0 is registered already, as <operation double@1.0.0>; give one a new version"
    )
    assert registry.retrieve("double@v1.0.0") is first
    registry.register(second, replace=True)
    assert registry.retrieve("double") is second


def test_two_at_once_are_refused() -> None:
    """A clash inside one call is a clash."""
    with pytest.raises(DefinitionExists, match=r"^DefinitionExists: double@1\.0\.0 is registered already"):
        Registry(op("double@1.0.0"), op("double@1.0.0"))


def test_the_same_object_twice_is_once() -> None:
    """Registering one declaration again changes nothing (two modules may offer it)."""
    one = op("double@1.0.0")
    registry = Registry(one, one)
    registry.register(one)
    assert list(registry) == [one]


def test_a_registry_is_walked_by_id_and_version() -> None:
    """Entries come by id, then by version as numbers, not as text."""
    names = ["b@1.10.0", "b@1.9.0", "a@2.0.0", "b@1.10.0-rc.1", "b@1.9.0+x"]
    registry = Registry(*map(op, names))
    assert [str(d) for d in registry.definitions()] == [
        "a@2.0.0",
        "b@1.9.0",
        "b@1.9.0+x",
        "b@1.10.0-rc.1",
        "b@1.10.0",
    ]
    assert list(registry.operations()) == list(registry)
    assert registry.flows() == []


def test_registries_know_nothing_of_each_other() -> None:
    """Nothing is global: what one registry has, another lacks."""
    Registry(op("double@1.0.0"))
    with pytest.raises(OperationNotFound):
        Registry(op("other@1.0.0")).retrieve("double")

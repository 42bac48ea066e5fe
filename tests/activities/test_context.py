"""Operations as plain functions, and what their context offers without Temporal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from activities import (
    Context,
    Definition,
    EnvironmentSecrets,
    FileSecrets,
    NotSerializable,
    Outcome,
    SecretRef,
    Status,
    Unrecoverable,
    operation,
)


@operation(id="double", version="1.0.0")
async def double(ctx: Context[list[Any]], input: int) -> int:
    ctx.deps.append((ctx.step, input))
    return input * 2


@double.undo
async def undo_double(ctx: Context[list[Any]], input: int, outcome: Outcome[int]) -> None:
    ctx.deps.append(("undo", input, outcome.status, outcome.output))


@operation(id="login", version="1.0.0")
def login(ctx: Context[Any], input: SecretRef) -> str:
    ctx.save_sync({"asked": input.name})
    return ctx.secret_sync(input)


async def test_an_async_operation_is_called_as_a_function() -> None:
    """``await double(Context.of(deps), 3)`` runs the handler and nothing else."""
    deps: list[Any] = []
    assert await double(Context.of(deps, step="first"), 3) == 6
    await undo_double(Context.of(deps), 3, Outcome("done", 6))
    assert deps == [("first", 3), ("undo", 3, Status.DONE, 6)]


def test_a_def_operation_is_called_as_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``def`` handler returns its value; save and secrets work where no loop runs."""
    monkeypatch.setenv("COUNTERSTEP_TEST_TOKEN", "hunter2")
    ctx = Context.of(None)
    assert login(ctx, SecretRef("COUNTERSTEP_TEST_TOKEN")) == "hunter2"
    assert ctx.saved == {"asked": "COUNTERSTEP_TEST_TOKEN"}


async def test_a_def_operation_in_an_async_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ``secret_sync`` works under a running loop too."""
    monkeypatch.setenv("COUNTERSTEP_TEST_TOKEN", "hunter2")
    assert login(Context.of(None), SecretRef("COUNTERSTEP_TEST_TOKEN")) == "hunter2"


def test_what_a_plain_context_holds() -> None:
    """Defaults for a test, each of which can be given."""
    ctx = Context.of("deps")
    assert (ctx.deps, ctx.step, ctx.attempt, ctx.idempotency_key, ctx.saved) == (
        "deps",
        "step",
        1,
        "key",
        None,
    )
    assert (ctx.definition, ctx.workflow_id, ctx.cancelled()) == (Definition("test", "0.0.0"), "test", False)
    assert isinstance(ctx.logger, logging.Logger)
    given = Context.of(None, step="a", attempt=3, idempotency_key="k", saved=[1])
    assert (given.step, given.attempt, given.idempotency_key, given.saved) == ("a", 3, "k", [1])


async def test_saved_data_is_the_last_that_was_saved() -> None:
    """``save`` replaces; what comes back is JSON."""
    ctx = Context.of(None, saved={"from": "attempt 1"})
    assert ctx.saved == {"from": "attempt 1"}
    await ctx.save({"n": 16015286601757825753, "list": [1, 2.5, None, True, "ä"]})
    assert ctx.saved == {"n": 16015286601757825753, "list": [1, 2.5, None, True, "ä"]}
    await ctx.save(None)
    assert ctx.saved is None


async def test_at_most_64_kb_are_saved() -> None:
    """65,536 bytes of JSON are kept, one more is refused and what was saved stays."""
    ctx = Context.of(None, step="vm")
    most = "x" * (64 * 1024 - 2)
    await ctx.save(most)
    with pytest.raises(NotSerializable) as caught:
        await ctx.save(most + "x")
    assert caught.value.message == "vm: saved data has 65537 bytes, 65536 are allowed"
    assert ctx.saved == most


class Model(BaseModel):
    x: int


@pytest.mark.parametrize(
    "data", [float("nan"), {1: 2}, (1, 2), {"a": {1}}, b"\xff", object(), Model(x=1), "\udcff"]
)
async def test_what_json_would_change_is_not_saved(data: Any) -> None:
    """Saved data comes back as it was, or is refused."""
    ctx = Context.of(None, step="vm", saved="before")
    with pytest.raises(NotSerializable, match=r"^NotSerializable: vm: saved data doesn't survive JSON: "):
        await ctx.save(data)
    with pytest.raises(NotSerializable):
        ctx.save_sync(data)
    assert ctx.saved == "before"


class Spec(BaseModel):
    user: str
    password: SecretRef


async def test_only_a_secrets_name_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In JSON, in ``repr`` and in errors a ``SecretRef`` is its name; the value comes from the source."""
    monkeypatch.setenv("APP_db", "hunter2")
    spec = Spec(user="u", password=SecretRef("db"))
    assert spec.model_dump_json() == '{"user":"u","password":"db"}'
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.password.name == "db"
    assert await Context.of(None, secrets=EnvironmentSecrets("APP_")).secret(spec.password) == "hunter2"


async def test_an_unknown_secret_is_not_retried() -> None:
    """It is ``Unrecoverable``, naming the secret and what to do."""
    with pytest.raises(Unrecoverable) as caught:
        await Context.of(None).secret(SecretRef("COUNTERSTEP_NO_SUCH"))
    assert caught.value.message == (
        "secret 'COUNTERSTEP_NO_SUCH' isn't known to this worker; give it to its SecretSource"
    )
    assert caught.value.non_retryable


async def test_secrets_in_files(tmp_path: Path) -> None:
    """A file's text without one trailing newline."""
    (tmp_path / "db").write_text("hunter2\n\n")
    assert await FileSecrets(tmp_path).get("db") == "hunter2\n"


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "sub/inner", "/etc/passwd", "none", "sub"])
async def test_file_secrets_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    """A name is a file of the folder itself; nothing else is found."""
    folder = tmp_path / "secrets"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "inner").write_text("x")
    (tmp_path / "outside").write_text("x")
    with pytest.raises(KeyError):
        await FileSecrets(folder).get(name)


def test_an_outcomes_status_is_one_of_four() -> None:
    """Text becomes a :class:`Status`; any other text is refused."""
    assert [Outcome(s).status for s in ("done", "failed", "skipped", "unknown")] == list(Status)
    with pytest.raises(ValueError, match="'fine' is not a valid Status"):
        Outcome("fine")

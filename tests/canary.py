"""Flows that handle a value which nobody else may see, and a converter that encrypts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from activities import Context, Failure, Outcome, Retry, SecretRef, operation
from flows import Dag, Policy, Sequence, Step, no_undo, saga
from tests.support import World

with workflow.unsafe.imports_passed_through():
    from cryptography.fernet import Fernet

KEY = b"Y291bnRlcnN0ZXAtdGVzdHMtb25seS1rZXktMDAwMDA="
TWICE = Retry(max_attempts=2, initial=timedelta(milliseconds=10))


class Sealed(PayloadCodec):
    """Encrypts whole payloads, metadata included."""

    def __init__(self) -> None:
        self._fernet = Fernet(KEY)

    async def encode(self, payloads: Many[Payload]) -> list[Payload]:
        """See base class."""
        return [
            Payload(metadata={"encoding": b"binary/sealed"}, data=self._fernet.encrypt(p.SerializeToString()))
            for p in payloads
        ]

    async def decode(self, payloads: Many[Payload]) -> list[Payload]:
        """See base class."""
        return [
            Payload.FromString(self._fernet.decrypt(p.data))
            if p.metadata.get("encoding") == b"binary/sealed"
            else p
            for p in payloads
        ]


data_converter = dataclasses.replace(
    pydantic_data_converter,
    payload_codec=Sealed(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)


class Login(BaseModel):
    """Who logs in where."""

    user: str
    password: SecretRef


async def known(ctx: Context[World], input: Login) -> None:
    """See the secret, and keep it outside."""
    ctx.deps.append("seen", await ctx.secret(input.password))


@operation(id="login", version="1.0.0", retry=TWICE)
async def login(ctx: Context[World], input: Login) -> str:
    """Log in, at the second attempt."""
    await known(ctx, input)
    await ctx.save({"user": input.user})
    if ctx.attempt == 1:
        raise RuntimeError("busy")
    return input.user


@login.undo
async def logout(ctx: Context[World], input: Login, outcome: Outcome[str]) -> None:
    await known(ctx, input)


@operation(id="login-here", version="1.0.0", placement="local")
async def login_here(ctx: Context[World], input: Login) -> str:
    """Log in, as a local step."""
    await known(ctx, input)
    return input.user


@operation(id="login-blocking", version="1.0.0")
def login_blocking(ctx: Context[World], input: Login) -> str:
    """Log in, in a thread."""
    ctx.deps.append("seen", ctx.secret_sync(input.password))
    return input.user


@operation(id="refused", version="1.0.0")
async def refused(ctx: Context[World], input: Login) -> str:
    """Fail with the secret at hand."""
    password = await ctx.secret(input.password)
    assert password != input.user, f"{input.user} uses {len(password)} letters"
    raise PermissionError(f"{input.user} may not")


@operation(id="unknown-secret", version="1.0.0")
async def unknown_secret(ctx: Context[World], input: str) -> str:
    """Ask for a secret that isn't there."""
    return await ctx.secret(SecretRef(input))


class Logins(Sequence[Login, None], id="logins", version="1.0.0"):
    """Log in everywhere, then be refused."""

    async def run(self, input: Login) -> None:
        await self.execute(login, input)
        await self.execute(login_blocking, input)
        await self.execute(refused, input)


@saga(id="logins-saga", version="1.0.0", policy=Policy(on_failure="hold"))
def logins(dag: Dag, params: Login) -> Step[str]:
    """Log in everywhere, then be held."""
    given = params.model_dump(mode="json")
    dag.append("first", login, given)
    dag.append("here", login_here, given, undo=no_undo)
    return dag.append("no", refused, given, undo=no_undo)


@operation(id="copy", version="1.0.0", retry=TWICE)
async def copy(ctx: Context[World], input: str) -> str:
    """Copy a text, at the second attempt, with it in an error, a log line, and saved data."""
    await ctx.save({"copied": input})
    if ctx.attempt == 1:
        raise ValueError(f"can't copy {input}")
    return f"copy of {input}"


@copy.retry_input
def again(attempt: int, error: Failure, input: str, deps: World) -> str:
    return f"{input}, again"


@copy.undo
async def erase(ctx: Context[World], input: str, outcome: Outcome[str]) -> None:
    assert outcome.output is not None


@operation(id="copy-here", version="1.0.0", placement="local")
async def copy_here(ctx: Context[World], input: str) -> str:
    """Copy a text, as a local step."""
    return f"copy of {input}"


@operation(id="tear", version="1.0.0")
async def tear(ctx: Context[World], input: str) -> str:
    """Fail, with the text in the error."""
    raise ValueError(f"torn: {input}")


class Inner(Sequence[str, str], id="copies-inner", version="1.0.0"):
    """Copy a text as a child flow."""

    async def run(self, input: str) -> str:
        return (await self.execute(copy, input)).output


class Copies(Sequence[str, None], id="copies", version="1.0.0", policy=Policy(on_failure="hold")):
    """Copy a text everywhere, then be held; an operator's edit holds it too."""

    async def run(self, input: str) -> None:
        await self.execute(copy, input)
        await self.execute(copy_here, input)
        await self.execute(Inner, input, child=True)
        await self.execute(tear, input)


@saga(id="copies-saga", version="1.0.0")
def copies(dag: Dag, params: str) -> Step[str]:
    """Copy a text, then fail."""
    dag.append("one", copy, params)
    dag.append("two", copy, params)
    return dag.append("torn", tear, params, undo=no_undo)

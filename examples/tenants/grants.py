"""Who may do what: privileges and memberships, each granted by an operation with its undo.

PostgreSQL has no place for a note at a grant. So each step saves, before its effect, which privileges weren't
there yet; its undo takes those back and no others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal, LiteralString

from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier
from pydantic import BaseModel, Field

from activities import Context, Outcome, SecretRef, operation
from examples.tenants.objects import RETRY, TIMEOUT, Name
from examples.tenants.server import Connection, Server, Thing

Privilege = Literal["CONNECT", "USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"]
GrantedOn = Literal["DATABASE", "SCHEMA", "TABLE"]

_GONE = (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedObject)
# Two sessions that change the privileges on one object at once: one of them fails.
_ALONE = "SELECT pg_advisory_xact_lock(hashtext('counterstep: grants'))"
_LISTS: Mapping[GrantedOn, LiteralString] = {
    "DATABASE": "SELECT datacl FROM pg_database WHERE datname = %(name)s",
    "SCHEMA": "SELECT nspacl FROM pg_namespace WHERE nspname = %(name)s",
    "TABLE": "SELECT relacl FROM pg_class WHERE oid = to_regclass(%(name)s)",
}


class Grant(BaseModel):
    """Which privileges to grant on what in a tenant's database; a table's name has its schema in front."""

    database: Name
    on: GrantedOn
    name: str
    role: Name
    privileges: list[Privilege] = Field(min_length=1)


class Granted(BaseModel):
    """The privileges that the role didn't have before."""

    new: list[Privilege]


class NewMember(BaseModel):
    """Which role becomes a member of which other, and so may do all that this one may."""

    role: Name
    member: Name


class Joined(BaseModel):
    """Whether the role wasn't a member before."""

    new: bool


class Login(BaseModel):
    """As whom to log in to which database, and which table to read there."""

    database: Name
    user: Name
    password: SecretRef
    table: str


class Tenant(BaseModel):
    """A tenant that can log in, and the number of rows that it sees in its first table."""

    database: str
    user: str
    rows: int


@operation(id="grant", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def grant(ctx: Context[Server], input: Grant) -> Granted:
    """Grant privileges on a database, a schema or a table."""
    async with ctx.deps.connect(ctx.idempotency_key, input.database) as connection, connection.transaction():
        await connection.execute(_ALONE)
        new = await _new(ctx, connection, input)
        await connection.execute(_statement("GRANT {} ON {} TO {}", input, input.privileges))
    return Granted(new=new)


@grant.undo
async def revoke(ctx: Context[Server], input: Grant, outcome: Outcome[Granted]) -> None:
    """Revoke the privileges that the role didn't have before."""
    if not outcome.saved or not await ctx.deps.has(input.database):
        return
    async with ctx.deps.connect(ctx.idempotency_key, input.database) as connection:
        with contextlib.suppress(*_GONE):
            async with connection.transaction():
                await connection.execute(_ALONE)
                await connection.execute(_statement("REVOKE {} ON {} FROM {}", input, outcome.saved))


async def _new(ctx: Context[Server], connection: Connection, input: Grant) -> Any:
    """Save, and give, what isn't there before the effect; a later attempt can't see that any more."""
    if ctx.saved is None:
        held = await _held(connection, input)
        await ctx.save([privilege for privilege in input.privileges if privilege not in held])
    return ctx.saved


async def _held(connection: Connection, input: Grant) -> set[str]:
    query = (
        f"SELECT granted.privilege_type FROM ({_LISTS[input.on]}) AS object (acl)"
        " CROSS JOIN LATERAL aclexplode(object.acl) AS granted"
        " JOIN pg_roles AS role ON role.oid = granted.grantee WHERE role.rolname = %(role)s"
    )
    found = await connection.execute(query, {"name": input.name, "role": input.role})
    return {row[0] for row in await found.fetchall()}


def _statement(text: LiteralString, input: Grant, privileges: list[Privilege]) -> Composed:
    listed = SQL(", ").join(map(SQL, privileges))
    return SQL(text).format(listed, Thing(input.on, input.name).sql, Identifier(input.role))


@operation(id="add-member", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def add_member(ctx: Context[Server], input: NewMember) -> Joined:
    """Make a role a member of another."""
    async with ctx.deps.connect(ctx.idempotency_key) as connection, connection.transaction():
        new = bool(ctx.saved) if ctx.saved is not None else not await _is_member(connection, input)
        await ctx.save(new)
        await connection.execute(_membership("GRANT {} TO {}", input))
    return Joined(new=new)


@add_member.undo
async def remove_member(ctx: Context[Server], input: NewMember, outcome: Outcome[Joined]) -> None:
    """Take the membership back, if there was none before."""
    if not outcome.saved:
        return
    async with ctx.deps.connect(ctx.idempotency_key) as connection:
        with contextlib.suppress(*_GONE):
            await connection.execute(_membership("REVOKE {} FROM {}", input))


async def _is_member(connection: Connection, input: NewMember) -> bool:
    query = (
        "SELECT FROM pg_auth_members AS membership"
        " JOIN pg_roles AS role ON role.oid = membership.roleid"
        " JOIN pg_roles AS member ON member.oid = membership.member"
        " WHERE role.rolname = %s AND member.rolname = %s"
    )
    found = await connection.execute(query, [input.role, input.member])
    return await found.fetchone() is not None


def _membership(text: LiteralString, input: NewMember) -> Composed:
    return SQL(text).format(Identifier(input.role), Identifier(input.member))


@operation(id="check-login", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def check_login(ctx: Context[Server], input: Login) -> Tenant:
    """Log in as the tenant, and count what it sees. This changes nothing."""
    password = await ctx.secret(input.password)
    async with await ctx.deps.open(dbname=input.database, user=input.user, password=password) as connection:
        count = SQL("SELECT count(*) FROM {}").format(Identifier(*input.table.split(".")))
        row: Any = await (await connection.execute(count)).fetchone()
    return Tenant(database=input.database, user=input.user, rows=row[0])

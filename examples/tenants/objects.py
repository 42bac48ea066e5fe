"""What a tenant is made of: roles, a database, schemas, tables; each with the operation that makes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier
from psycopg.sql import Literal as Value
from pydantic import BaseModel, Field

from activities import Context, Outcome, OutcomeUnknown, Retry, SecretRef, Skip, operation
from examples.tenants.server import Connection, Server, Thing

TIMEOUT, RETRY = timedelta(minutes=1), Retry(max_attempts=3)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ColumnType = Literal["bool", "int4", "text", "timestamptz"]
Cell = bool | int | str


class NewRole(BaseModel):
    """Which role to create; one with a password may log in."""

    name: Name
    password: SecretRef | None = None


class Role(BaseModel):
    """A role that was created."""

    name: str


class NewDatabase(BaseModel):
    """Which database to create, and the role that owns it."""

    name: Name
    owner: Name


class Database(BaseModel):
    """A database that was created."""

    name: str


class NewSchema(BaseModel):
    """Which schema to create, in which database."""

    database: Name
    name: Name
    owner: Name


class Schema(BaseModel):
    """A schema that was created."""

    database: str
    name: str


class NewTable(BaseModel):
    """Which table to create: its columns, the first of them its key, and the rows that it begins with."""

    database: Name
    schema_name: Name
    name: Name
    owner: Name
    columns: dict[Name, ColumnType] = Field(min_length=1)
    rows: list[list[Cell]] = []


class Table(BaseModel):
    """A table that was created; its name has the schema in front."""

    name: str
    rows: int


@operation(id="create-role", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def create_role(ctx: Context[Server], input: NewRole) -> Role:
    """Create a role."""
    role = Thing("ROLE", input.name)
    password = await ctx.secret(input.password) if input.password else None
    async with ctx.deps.connect(ctx.idempotency_key) as connection, connection.transaction():
        if not await role.is_there(connection, ctx.idempotency_key):
            await connection.execute(
                SQL("CREATE {} {}").format(role.sql, _login(connection, input.name, password))
            )
            await role.claim(connection, ctx.idempotency_key)
    return Role(name=input.name)


@create_role.undo
async def drop_role(ctx: Context[Server], input: NewRole, outcome: Outcome[Role]) -> None:
    """Drop the role."""
    async with ctx.deps.connect(ctx.idempotency_key) as connection, connection.transaction():
        await Thing("ROLE", input.name).drop(connection, ctx.idempotency_key)


def _login(connection: Connection, name: str, password: str | None) -> Composable:
    """What lets a role log in. The password is hashed here: statements end up in the server's log."""
    if password is None:
        return SQL("NOLOGIN")
    hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return SQL("LOGIN PASSWORD {}").format(hashed.decode())


@operation(id="create-database", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def create_database(ctx: Context[Server], input: NewDatabase) -> Database:
    """Create a database that nobody but its owner may connect to.

    `CREATE DATABASE` can't be part of a transaction, so a database can't be made and commented at once. It is
    made under a name that only this step knows, then commented and renamed in one transaction.
    """
    key, draft = ctx.idempotency_key, _draft(ctx.idempotency_key)
    async with ctx.deps.connect(ctx.idempotency_key) as connection:
        if not await Thing("DATABASE", input.name).is_there(connection, key):
            try:
                await _make(connection, draft, input.owner)
                await _publish(connection, draft, input.name, key)
            except psycopg.Error as error:
                raise OutcomeUnknown(f"database {input.name} may be half made: {error}") from error
    return Database(name=input.name)


@create_database.undo
async def drop_database(ctx: Context[Server], input: NewDatabase, outcome: Outcome[Database]) -> None:
    """Drop the database, also with somebody connected to it."""
    async with ctx.deps.connect(ctx.idempotency_key) as connection:
        await _drop_draft(connection, _draft(ctx.idempotency_key))
        await Thing("DATABASE", input.name).drop(connection, ctx.idempotency_key, "WITH (FORCE)")


def _draft(key: str) -> str:
    return f"counterstep_{key[:32]}"


async def _make(connection: Connection, draft: str, owner: str) -> None:
    found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [draft])
    if await found.fetchone() is None:
        create = "CREATE DATABASE {} OWNER {} TEMPLATE template0"
        await connection.execute(SQL(create).format(Identifier(draft), Identifier(owner)))


async def _publish(connection: Connection, draft: str, name: str, key: str) -> None:
    made = Thing("DATABASE", draft)
    async with connection.transaction():
        await connection.execute(SQL("REVOKE ALL ON {} FROM PUBLIC").format(made.sql))
        await made.claim(connection, key)
        await connection.execute(SQL("ALTER {} RENAME TO {}").format(made.sql, Identifier(name)))


async def _drop_draft(connection: Connection, draft: str) -> None:
    await connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(draft)))


@operation(id="create-schema", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def create_schema(ctx: Context[Server], input: NewSchema) -> Schema:
    """Create a schema in a tenant's database."""
    schema = Thing("SCHEMA", input.name)
    async with ctx.deps.connect(ctx.idempotency_key, input.database) as connection, connection.transaction():
        if not await schema.is_there(connection, ctx.idempotency_key):
            create = SQL("CREATE {} AUTHORIZATION {}").format(schema.sql, Identifier(input.owner))
            await connection.execute(create)
            await schema.claim(connection, ctx.idempotency_key)
    return Schema(database=input.database, name=input.name)


@create_schema.undo
async def drop_schema(ctx: Context[Server], input: NewSchema, outcome: Outcome[Schema]) -> None:
    """Drop the schema; one that something was put into meanwhile isn't dropped, which fails."""
    await _drop_inside(ctx, input.database, Thing("SCHEMA", input.name))


@operation(id="create-table", version="1.0.0", timeout=TIMEOUT, retry=RETRY)
async def create_table(ctx: Context[Server], input: NewTable) -> Table:
    """Create a table with the rows that it begins with."""
    table = _table(input)
    async with ctx.deps.connect(ctx.idempotency_key, input.database) as connection, connection.transaction():
        if not await table.is_there(connection, ctx.idempotency_key):
            await connection.execute(SQL("SET LOCAL ROLE {}").format(Identifier(input.owner)))
            await connection.execute(SQL("CREATE {} ({})").format(table.sql, _columns(input)))
            if input.rows:
                await connection.execute(_insert(input))
            await table.claim(connection, ctx.idempotency_key)
    return Table(name=table.name, rows=len(input.rows))


@create_table.undo
async def drop_table(ctx: Context[Server], input: NewTable, outcome: Outcome[Table]) -> None:
    """Drop the table, with all its rows."""
    await _drop_inside(ctx, input.database, _table(input))


def _table(input: NewTable) -> Thing:
    return Thing("TABLE", f"{input.schema_name}.{input.name}")


def _columns(input: NewTable) -> Composed:
    columns: list[Composable] = [
        SQL("{} {} NOT NULL").format(Identifier(name), Identifier(type))
        for name, type in input.columns.items()
    ]
    return SQL(", ").join([*columns, SQL("PRIMARY KEY ({})").format(Identifier(next(iter(input.columns))))])


def _insert(input: NewTable) -> Composed:
    rows = [SQL("({})").format(SQL(", ").join(map(Value, row))) for row in input.rows]
    target = Identifier(input.schema_name, input.name)
    return SQL("INSERT INTO {} VALUES {}").format(target, SQL(", ").join(rows))


async def _drop_inside(ctx: Context[Server], database: str, thing: Thing) -> None:
    if not await ctx.deps.has(database):
        raise Skip(f"there is no database {database}, and so no {thing}")
    async with ctx.deps.connect(ctx.idempotency_key, database) as connection, connection.transaction():
        await thing.drop(connection, ctx.idempotency_key)

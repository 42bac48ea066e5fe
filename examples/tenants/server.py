"""The PostgreSQL server that tenants live on, and the note on each object that says whose it is.

Whatever a step makes carries the step's idempotency key in its comment (`COMMENT ON ROLE acme IS …`), put
there in the transaction that makes it. So a step that runs again finds its own work, an undo drops nothing
else, and whoever looks at the server sees where an object is from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Composed, Identifier

from activities import OutcomeUnknown, Skip, Unrecoverable

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Kind = Literal["DATABASE", "ROLE", "SCHEMA", "TABLE"]
Owner = Literal["nobody", "this step", "somebody else"]

STATEMENT_TIMEOUT = "50s"  # below the operations' own: what a lost step asked for ends on the server too

_COMMENTS: Mapping[Kind, LiteralString] = {
    "DATABASE": "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
    "ROLE": "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s",
    "SCHEMA": "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
    "TABLE": "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s)",
}


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server.

    Attributes:
        dsn: How an administrator connects, as a libpq connection string or URL.
    """

    dsn: str

    @asynccontextmanager
    async def connect(self, key: str, database: str | None = None) -> AsyncIterator[Connection]:
        """Connect as administrator; each statement outside a transaction is one of its own.

        One connection a key: an execution that was taken for lost may still be at work, and its repetition or
        its undo, which would not see it, wait for its end.

        Args:
            key: The step's idempotency key.
            database: Which to connect to; that of `dsn` unless given.

        Raises:
            OutcomeUnknown: The connection broke: what ran last may have taken effect.
        """
        async with await self.open(dbname=database) as connection:
            try:
                await connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
                yield connection
            except psycopg.Error as error:
                if connection.broken:
                    raise OutcomeUnknown(f"the connection to PostgreSQL broke: {error}") from error
                raise

    async def open(self, **instead: Any) -> Connection:
        """Open a connection.

        Args:
            instead: What takes the place of parts of `dsn`: `dbname`, `user`, `password`.
        """
        given = conninfo_to_dict(self.dsn).get("options") or ""
        options = f"{given} -c statement_timeout={STATEMENT_TIMEOUT}"
        # Of a server that names no encoding (SQL_ASCII) psycopg gives bytes, unless the client names one.
        instead.setdefault("client_encoding", "UTF8")
        return await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, options=options, **instead)

    async def has(self, database: str) -> bool:
        """Whether there is a database of this name, whoever has made it."""
        async with await self.open() as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [database])
            return await found.fetchone() is not None


@dataclass(frozen=True)
class Thing:
    """A named object on the server, there or not.

    Attributes:
        kind: As in SQL.
        name: A table's has its schema in front: `app.plans`.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        """Name it."""
        return f"{self.kind.lower()} {self.name}"

    @property
    def sql(self) -> Composed:
        """What stands in a statement: `TABLE "app"."plans"`."""
        return SQL("{} {}").format(SQL(self.kind), Identifier(*self.name.split(".")))

    async def is_there(self, connection: Connection, key: str) -> bool:
        """Whether the step with this idempotency key has made it already.

        Raises:
            Unrecoverable: Somebody else has.
        """
        owner = await self.owner(connection, key)
        if owner == "somebody else":
            raise Unrecoverable(f"{self} is there already, and isn't this step's: choose another name")
        return owner == "this step"

    async def claim(self, connection: Connection, key: str) -> None:
        """Write down that the step with this idempotency key has made it; to be called where it is made."""
        await connection.execute(SQL("COMMENT ON {} IS {}").format(self.sql, note(key)))

    async def drop(self, connection: Connection, key: str, how: LiteralString = "") -> None:
        """Drop it, if the step with this idempotency key has made it and it is still there.

        Raises:
            Skip: Somebody else has made it; it is left alone.
        """
        owner = await self.owner(connection, key)
        if owner == "somebody else":
            raise Skip(f"{self} isn't this step's: it is left alone")
        if owner == "this step":
            await connection.execute(SQL("DROP {} {}").format(self.sql, SQL(how)))

    async def owner(self, connection: Connection, key: str) -> Owner:
        """Who has made it, as its comment says."""
        row = await (await connection.execute(_COMMENTS[self.kind], [self.name])).fetchone()
        if row is None:
            return "nobody"
        return "this step" if row[0] == note(key) else "somebody else"


def note(key: str) -> str:
    """The comment on what the step with this idempotency key has made."""
    return f"made by counterstep, key {key}"

"""A PostgreSQL server of the tests' own, from Debian's package, and its catalog as text."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

START_SECONDS = 60
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "max_connections": "200",
    "log_statement": "all",
}
ACCESS = "local all postgres trust\nlocal all all scram-sha-256\n"


def program(name: str) -> str:
    """Find one of PostgreSQL's programs, where Debian puts them or on the path; the newest."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, (
        f"PostgreSQL's {name} isn't installed: apt-get install postgresql (.ci/run does so by itself)"
    )
    return program


@dataclass(frozen=True)
class Cluster:
    """A running server.

    Attributes:
        folder: its socket, data and log.
    """

    folder: Path

    def dsn(self, database: str = "postgres", user: str = "postgres", **more: str) -> str:
        """Say how to connect."""
        return make_conninfo(host=str(self.folder), dbname=database, user=user, **more)

    def query(self, query: Any, database: str = "postgres") -> list[Any]:
        """Run a query or a statement as superuser."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    @property
    def log(self) -> str:
        """What the server wrote: every statement that it was sent."""
        return (self.folder / "log").read_text()

    def catalog(self) -> str:
        """Tell all that the server holds: roles, databases, schemas, tables, rows, privileges, comments."""
        with psycopg.connect(self.dsn()) as connection:
            lines = _told(connection, "", SHARED)
            databases = connection.execute(
                "SELECT datname FROM pg_database WHERE datname <> 'template0' ORDER BY 1"
            )
            for (database,) in databases.fetchall():
                lines += self._local(database)
        return "\n".join(lines)

    def _local(self, database: str) -> list[str]:
        with psycopg.connect(self.dsn(database)) as connection:
            tables = [table for (table,) in connection.execute(TABLES).fetchall()]
            rows = {f"row of {table}": f"SELECT t::text FROM {table} AS t" for table in tables}
            return _told(connection, f"{database}: ", {**LOCAL, **rows})

    def dumped(self) -> str:
        """Give what PostgreSQL's own pg_dumpall says of it, without what differs each time."""
        command = [program("pg_dumpall"), "--dbname", self.dsn()]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        return "\n".join(
            line
            for line in text.splitlines()
            if not re.match(r"\\(un)?restrict |-- (Started|Completed) on", line)
        )

    def clear(self) -> None:
        """Drop every database and role that didn't come with the server."""
        for (name,) in self.query(
            "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        ):
            self.query(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        for (name,) in self.query(
            r"SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\_%' AND rolname <> 'postgres'"
        ):
            self.query(SQL("DROP ROLE {}").format(Identifier(name)))


def _told(connection: psycopg.Connection[Any], where: str, queries: dict[str, str]) -> list[str]:
    """Write the rows of each query as sorted lines."""
    lines = []
    for title, query in queries.items():
        rows = connection.execute(query.encode()).fetchall()
        lines += sorted(f"{where}{title}: {' | '.join(map(str, row))}" for row in rows)
    return lines


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a server on a Unix socket, and end it.

    PostgreSQL refuses to run as root, who lends it the user that the package has made. pytest's own folders
    can't be entered by that one, and have names too long for a socket.
    """
    account: dict[str, Any] = (
        {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    )
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if account:
        shutil.chown(folder, "postgres", "postgres")
    try:
        _prepare(folder, account)
        with _running(folder, account):
            yield Cluster(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, account: dict[str, Any]) -> None:
    command = [program("initdb"), "--pgdata", str(folder / "data"), "--username", "postgres", "--no-sync"]
    command += ["--encoding", "UTF8", "--locale", "C", "--auth", "trust"]
    made = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=START_SECONDS, **account)
    assert made.returncode == 0, f"initdb failed: {made.stderr}"
    (folder / "data" / "pg_hba.conf").write_text(ACCESS)


@contextmanager
def _running(folder: Path, account: dict[str, Any]) -> Iterator[None]:
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = [program("postgres"), "-D", str(folder / "data"), "-k", str(folder), *settings]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, start_new_session=True, **account)
    try:
        _wait(folder, server)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # ends all sessions
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait(20)


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(Cluster(folder).dsn()).close()
            return
        except psycopg.OperationalError:
            said = (folder / "log").read_text()
            assert server.poll() is None and time.monotonic() < deadline, f"PostgreSQL didn't come up: {said}"
            time.sleep(0.05)


def _acl(acl: str, kind: str, owner: str) -> str:
    """Write an access list with names in a fixed order; one that was never changed is the default one."""
    return f"""(SELECT string_agg(
            concat_ws(' ', grantor::regrole, 'lets', grantee::regrole, privilege_type, is_grantable), ', '
            ORDER BY grantor::regrole::text, grantee::regrole::text, privilege_type)
        FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))))"""


_USERS = r"nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'"
_RELATIONS = "pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
SHARED = {
    "role": """SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
        rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil, shobj_description(oid, 'pg_authid')
        FROM pg_authid""",
    "member": "SELECT roleid::regrole, member::regrole, grantor::regrole, admin_option FROM pg_auth_members",
    "setting": "SELECT setdatabase, setrole::regrole, setconfig FROM pg_db_role_setting",
    "database": f"""SELECT datname, datdba::regrole, encoding, datcollate, datistemplate, datallowconn,
        datconnlimit, {_acl("datacl", "d", "datdba")}, shobj_description(oid, 'pg_database')
        FROM pg_database""",
    "comments": "SELECT count(*) FROM pg_shdescription",
    "dependencies": "SELECT count(*) FROM pg_shdepend",
    "prepared": "SELECT count(*) FROM pg_prepared_xacts",
}
TABLES = (
    f"SELECT format('%I.%I', nspname, relname) FROM {_RELATIONS} WHERE relkind = 'r' AND {_USERS} ORDER BY 1"
)
LOCAL = {
    "schema": f"""SELECT nspname, nspowner::regrole, {_acl("nspacl", "n", "nspowner")},
        obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE {_USERS}""",
    "relation": f"""SELECT nspname, relname, relkind, relowner::regrole, {_acl("relacl", "r", "relowner")},
        obj_description(pg_class.oid, 'pg_class') FROM {_RELATIONS} WHERE {_USERS}""",
    "column": f"""SELECT nspname, relname, attname, attnum, atttypid::regtype, attnotnull, attacl
        FROM {_RELATIONS} JOIN pg_attribute ON attrelid = pg_class.oid WHERE attnum > 0 AND {_USERS}""",
    "constraint": f"""SELECT nspname, conrelid::regclass, conname, pg_get_constraintdef(pg_constraint.oid)
        FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace WHERE {_USERS}""",
    "function": f"""SELECT nspname, proname
        FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE {_USERS}""",
    "default": "SELECT defaclrole::regrole, defaclobjtype, defaclacl FROM pg_default_acl",
    "comments": "SELECT count(*) FROM pg_description",
}

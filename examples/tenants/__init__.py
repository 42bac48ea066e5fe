r"""Tenants of a PostgreSQL server: each gets a role, a database, schemas, tables with seed rows, and grants.

It is a saga. Roles are created side by side, so are schemas, tables and grants; when a step fails, the
server is as it was before. It needs psycopg (`make .venv` brings it, and `pip install
'counterstep[postgres]'`), and a server of which you are superuser:

    export TENANTS_DSN='postgresql://postgres@localhost:5432/postgres'
    export TENANT_PASSWORD_ACME='correct horse battery staple'
    python worker.py --dev --module examples.tenants

In a second terminal:

    temporal workflow execute --type onboard-tenant@1.0.0 --task-queue counterstep \
        --workflow-id onboard-acme --input '{"name": "acme", "password": "ACME"}'
    psql 'postgresql://acme@localhost:5432/acme' -c 'TABLE app.plans'

`"ACME"` names the password; the worker finds it in the environment variable `TENANT_PASSWORD_ACME`. Then
start another run with the name `acme`: it fails, since that role isn't its own, and leaves it alone. Or name
a password that the worker doesn't know.

Each operation bears being run twice, and each undo being run for nothing, since what they make carries the
step's idempotency key (`\du+` in psql shows it): see `server.py`. `create_database` keeps that promise where
PostgreSQL has no transaction.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from activities import EnvironmentSecrets
from examples.tenants.grants import add_member, check_login, grant
from examples.tenants.objects import create_database, create_role, create_schema, create_table
from examples.tenants.onboarding import onboard_tenant
from examples.tenants.server import Server

__all__ = [
    # operations
    "add_member",
    "check_login",
    "create_database",
    "create_role",
    "create_schema",
    "create_table",
    "grant",
    # sagas
    "onboard_tenant",
    # what they work on
    "lifespan",
    "secrets",
]

secrets = EnvironmentSecrets(prefix="TENANT_PASSWORD_")


@asynccontextmanager
async def lifespan() -> AsyncIterator[Server]:
    """The server that the environment variable `TENANTS_DSN` names.

    Raises:
        RuntimeError: `TENANTS_DSN` isn't set.
    """
    dsn = os.environ.get("TENANTS_DSN")
    if not dsn:
        raise RuntimeError("TENANTS_DSN isn't set: say how to connect to PostgreSQL as superuser")
    yield Server(dsn)

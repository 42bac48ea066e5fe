"""The onboarding of a tenant, as a saga."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from activities import SecretRef
from examples.tenants.grants import GrantedOn, Privilege, Tenant, add_member, check_login, grant
from examples.tenants.objects import create_database, create_role, create_schema, create_table
from flows import Dag, Step, no_undo, saga

PLANS = [["free", 1, 0], ["team", 20, 49], ["company", 1000, 499]]

# Its roles are named after it, and PostgreSQL cuts names at 63.
TenantName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class TenantSpec(BaseModel):
    """Who is onboarded: a name for its role and its database, and the secret that its password is in."""

    model_config = ConfigDict(extra="forbid")

    name: TenantName
    password: SecretRef


@saga(id="onboard-tenant", version="1.0.0")
def onboard_tenant(dag: Dag, params: TenantSpec) -> Step[Tenant]:
    """Give a tenant a database of its own, with roles, tables and grants."""
    _roles(dag, params)
    dag.append("database", create_database, {"name": params.name, "owner": params.name})
    _schemas(dag, params)
    _tables(dag, params)
    _access(dag, params)
    login = {"database": params.name, "user": params.name, "password": params.password, "table": "app.plans"}
    return dag.append("check-login", check_login, login, undo=no_undo)


def _roles(dag: Dag, params: TenantSpec) -> None:
    """The tenant's own role, and two that it can lend: to read, and to write."""
    dag.append_parallel(
        dag.step("owner", create_role, {"name": params.name, "password": params.password}),
        dag.step("reader", create_role, {"name": _reader(params)}),
        dag.step("writer", create_role, {"name": _writer(params)}),
    )


def _schemas(dag: Dag, params: TenantSpec) -> None:
    """What needs no more than the database."""
    common = {"database": params.name, "owner": params.name}
    dag.append_parallel(
        dag.step("schema-app", create_schema, {**common, "name": "app"}),
        dag.step("schema-audit", create_schema, {**common, "name": "audit"}),
        dag.step("writer-reads", add_member, {"role": _reader(params), "member": _writer(params)}),
        _grant(dag, "reader-connects", params, _reader(params), "DATABASE", params.name, "CONNECT"),
    )


def _tables(dag: Dag, params: TenantSpec) -> None:
    """The tables with their seed rows, and beside them who may enter the schemas."""
    settings, plans = {"name": "text", "value": "text"}, {"name": "text", "seats": "int4", "price": "int4"}
    events = {"number": "int4", "what": "text"}
    dag.append_parallel(
        _table(dag, params, "app", "plans", plans, PLANS),
        _table(dag, params, "app", "settings", settings, [["tenant", params.name], ["plan", "free"]]),
        _table(dag, params, "audit", "events", events, [[1, "onboarded"]]),
        _grant(dag, "reader-enters-app", params, _reader(params), "SCHEMA", "app", "USAGE"),
        _grant(dag, "writer-enters-audit", params, _writer(params), "SCHEMA", "audit", "USAGE"),
    )


def _access(dag: Dag, params: TenantSpec) -> None:
    """Who may do what with the tables."""
    reader, writer = _reader(params), _writer(params)
    dag.append_parallel(
        _grant(dag, "reader-reads-plans", params, reader, "TABLE", "app.plans", "SELECT"),
        _grant(dag, "reader-reads-settings", params, reader, "TABLE", "app.settings", "SELECT"),
        _grant(
            dag,
            "writer-writes-settings",
            params,
            writer,
            "TABLE",
            "app.settings",
            "INSERT",
            "UPDATE",
            "DELETE",
        ),
        _grant(dag, "writer-adds-events", params, writer, "TABLE", "audit.events", "INSERT"),
    )


def _table(dag: Dag, params: TenantSpec, schema: str, name: str, columns: Any, rows: Any) -> Any:
    table = {"database": params.name, "schema_name": schema, "name": name, "owner": params.name}
    return dag.step(f"table-{name}", create_table, {**table, "columns": columns, "rows": rows})


def _grant(
    dag: Dag, step: str, params: TenantSpec, role: str, on: GrantedOn, name: str, *privileges: Privilege
) -> Any:
    granted = {"database": params.name, "on": on, "name": name, "role": role, "privileges": privileges}
    return dag.step(step, grant, granted)


def _reader(params: TenantSpec) -> str:
    return f"{params.name}_reader"


def _writer(params: TenantSpec) -> str:
    return f"{params.name}_writer"

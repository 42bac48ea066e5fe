"""Tenants are onboarded in a real PostgreSQL; whatever goes wrong, the server is as it was before."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from temporalio.client import Client
from temporalio.exceptions import TimeoutType

from activities import Context, Operation, Outcome, OutcomeUnknown, Retry, SecretRef, Skip, Unrecoverable
from examples import tenants
from examples.tenants import create_database, create_role, create_schema, grant, onboard_tenant
from examples.tenants.grants import Grant, Tenant
from examples.tenants.objects import NewDatabase, NewRole, NewSchema
from examples.tenants.onboarding import TenantSpec
from examples.tenants.server import Connection, Server
from flows import load_modules, start
from flows._plan import OperationStep
from tests.conftest import Serve
from tests.postgres import Cluster, cluster
from tests.support import causes, eventually, failure_of, new_id

PASSWORD = "correct horse 'battery' staple"
OPERATIONS = tuple(value for value in vars(tenants).values() if isinstance(value, Operation))
BY_NAME = {str(op.definition): op for op in OPERATIONS}
CHECK = "check-login"


def spec(name: str = "acme") -> TenantSpec:
    return TenantSpec(name=name, password=SecretRef("ANY"))


STEPS = [step for step in onboard_tenant.plan(spec()).steps if isinstance(step, OperationStep)]
CHANGES = [step for step in STEPS if step.name != CHECK]
NAMES = [step.name for step in STEPS]
FIRST = {step.operation: step for step in reversed(CHANGES)}  # of each operation


class OnePassword:
    """A source that knows one secret under every name."""

    async def get(self, name: str) -> str:
        return PASSWORD


# --- the server ---


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def postgres(running: Cluster) -> Iterator[Cluster]:
    """A server that holds nothing yet."""
    yield running
    running.clear()


@pytest.fixture(scope="module")
def empty(running: Cluster) -> tuple[str, str]:
    """What a server that holds nothing yet is told to hold."""
    return dumps(running)


def dumps(postgres: Cluster) -> tuple[str, str]:
    """All that the server holds, as we tell it and as PostgreSQL does."""
    return postgres.catalog(), postgres.dumped()


def masked(catalog: str) -> str:
    """The same for every run: without keys, and without passwords, which are salted."""
    return re.sub(r"SCRAM-SHA-256\$\S+", "PASSWORD", re.sub(r"key \S+", "key KEY", catalog))


def log_in(postgres: Cluster, database: str, user: str, query: str, password: str = PASSWORD) -> list[Any]:
    """Run a query as somebody with a password."""
    with psycopg.connect(postgres.dsn(database, user, password=password)) as connection:
        return connection.execute(query).fetchall()


# --- faults ---


@dataclass
class Faults:
    """What goes wrong, by tenant and step; everything else goes well.

    Attributes:
        before: steps that raise, before they do anything.
        after: steps that don't know how they ended, after they took effect.
        lost: steps that don't know how they ended, and did nothing.
        hang: steps that never end, after they took effect.
        twice: whether everything else is called twice, undos too.
        undone: undos that were called.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    hang: tuple[str, ...] = ()
    twice: bool = False
    undone: list[str] = field(default_factory=list)

    async def forward(self, ctx: Context[Any], call: Callable[[], Awaitable[Any]]) -> Any:
        name = f"{ctx.workflow_id.rpartition('-')[0]}/{ctx.step}"
        if name in self.before:
            raise Unrecoverable("before its effect")
        if name in self.lost:
            raise OutcomeUnknown("before its effect")
        output = await call()
        if self.twice:
            assert await call() == output
        if name in self.after:
            raise OutcomeUnknown("after its effect")
        if name in self.hang:
            await asyncio.Event().wait()
        return output

    async def backward(self, ctx: Context[Any], call: Callable[[], Awaitable[None]]) -> None:
        self.undone.append(ctx.step)
        try:
            await call()
        finally:
            if self.twice:
                await call()

    def around(self, op: Operation[Any, Any]) -> Operation[Any, Any]:
        """The same operation, with faults around it."""

        @functools.wraps(op.handler)
        async def forward(ctx: Context[Any], input: Any) -> Any:
            return await self.forward(ctx, lambda: op.handler(ctx, input))

        made = Operation[Any, Any](forward, op.definition, timeout=op.timeout, retry=op.retry)
        if op.undo_handler is not None:
            undo = op.undo_handler

            @made.undo(retry=undo.retry, timeout=undo.timeout)
            async def backward(ctx: Context[Any], input: Any, outcome: Outcome[Any]) -> None:
                await self.backward(ctx, lambda: undo.handler(ctx, input, outcome))

        return made


Onboarding = Callable[..., Any]


@pytest.fixture
def serving(serve: Serve, postgres: Cluster) -> Onboarding:
    """Serve the saga, with faults around its operations."""

    def serving(faults: Faults) -> Any:
        served = (*map(faults.around, OPERATIONS), onboard_tenant)
        return serve(*served, deps=Server(postgres.dsn()), secrets=OnePassword())

    return serving


async def onboard(client: Client, task_queue: str, name: str = "acme") -> Any:
    """Start the onboarding of a tenant."""
    return await start(client, onboard_tenant, spec(name), id=new_id(name), task_queue=task_queue)


# --- it works ---


async def test_a_tenant_is_onboarded(serving: Onboarding, postgres: Cluster, task_queue: str) -> None:
    """The tenant logs in with its password, and reads its seed rows; nobody wrote the password down."""
    async with serving(Faults()) as client:
        handle = await onboard(client, task_queue)
        assert await handle.result() == Tenant(database="acme", user="acme", rows=3)
        history = (await handle.fetch_history()).to_json()
    assert log_in(postgres, "acme", "acme", "TABLE app.settings") == [("tenant", "acme"), ("plan", "free")]
    assert log_in(postgres, "acme", "acme", "SELECT name FROM app.plans WHERE seats < 50") == [
        ("free",),
        ("team",),
    ]
    assert log_in(postgres, "acme", "acme", "TABLE audit.events") == [(1, "onboarded")]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(postgres, "acme", "acme", "SELECT 1", password="wrong")
    assert (
        PASSWORD not in history
        and PASSWORD.replace("'", "''") not in postgres.log
        and "SCRAM" in postgres.log
    )


ALLOWED = (
    ("reader", "TABLE app.settings"),
    ("reader", "TABLE app.plans"),
    ("writer", "TABLE app.plans"),
    ("writer", "UPDATE app.settings SET value = 'team'"),
    ("writer", "INSERT INTO audit.events VALUES (2, 'paid')"),
)
DENIED = (
    ("reader", "DELETE FROM app.settings"),
    ("reader", "TABLE audit.events"),
    ("writer", "DELETE FROM audit.events"),
    ("writer", "INSERT INTO app.plans VALUES ('mine', 1, 0)"),
    ("writer", "CREATE TABLE app.mine ()"),
)


async def test_roles_may_do_what_they_were_granted(postgres: Cluster) -> None:
    """Somebody who was lent a role may do that, and no more."""
    walk = Walk(postgres)
    for step in CHANGES:
        await walk.go(step)
    for role in ("reader", "writer"):
        postgres.query(f"CREATE ROLE guest_{role} LOGIN PASSWORD 'guest' IN ROLE acme_{role}")
    for role, statement in (*ALLOWED, *DENIED):
        denied = (
            contextlib.nullcontext()
            if (role, statement) in ALLOWED
            else pytest.raises(errors.InsufficientPrivilege)
        )
        with psycopg.connect(postgres.dsn("acme", f"guest_{role}", password="guest")) as guest, denied:
            guest.execute(statement)


async def test_two_tenants_at_once_are_onboarded(
    serving: Onboarding, postgres: Cluster, task_queue: str
) -> None:
    """Both come out, and neither may connect to the other's database."""
    async with serving(Faults(twice=True)) as client:
        runs = [await onboard(client, task_queue, name) for name in ("acme", "globex")]
        assert [await run.result() for run in runs] == [
            Tenant(database="acme", user="acme", rows=3),
            Tenant(database="globex", user="globex", rows=3),
        ]
    with pytest.raises(psycopg.OperationalError, match='permission denied for database "globex"'):
        log_in(postgres, "globex", "acme", "SELECT 1")


async def test_a_failure_beside_it_disturbs_no_tenant(
    serving: Onboarding, postgres: Cluster, task_queue: str
) -> None:
    """Globex alone leaves the same as globex beside acme, which fails at its last step."""
    async with serving(Faults(before=(f"acme/{CHECK}",))) as client:
        await (await onboard(client, task_queue, "globex")).result()
        alone = masked(postgres.catalog())
        postgres.clear()
        acme, globex = [await onboard(client, task_queue, name) for name in ("acme", "globex")]
        assert type(await failure_of(acme)).__name__ == "ApplicationError"
        await globex.result()
    assert masked(postgres.catalog()) == alone
    assert len(log_in(postgres, "globex", "globex", "TABLE app.plans")) == 3


async def test_the_module_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker serves it with TENANTS_DSN set, and says so if it isn't; only its own variables are passwords."""
    module = load_modules(["examples.tenants"])
    assert module.lifespan is not None and module.secrets is not None
    assert {str(offered.definition) for offered in module.registry} == {"onboard-tenant@1.0.0", *BY_NAME}
    monkeypatch.delenv("TENANTS_DSN", raising=False)
    with pytest.raises(RuntimeError, match="TENANTS_DSN isn't set"):
        async with module.lifespan():
            pass
    monkeypatch.setenv("TENANTS_DSN", "host=somewhere")
    async with module.lifespan() as server:
        assert server == Server("host=somewhere")
    monkeypatch.setenv("TENANT_PASSWORD_ACME", PASSWORD)
    assert await module.secrets.get("ACME") == PASSWORD
    with pytest.raises(KeyError):
        await module.secrets.get("TENANTS_DSN")


# --- whatever fails, the server is as it was ---


@pytest.mark.parametrize("step", NAMES)
async def test_a_failed_step_leaves_the_server_as_it_was(
    serving: Onboarding, postgres: Cluster, empty: Any, task_queue: str, step: str
) -> None:
    """A step fails before its effect: what came before it is undone."""
    faults = Faults(before=(f"acme/{step}",))
    async with serving(faults) as client:
        found = causes(await failure_of(await onboard(client, task_queue)))
    assert [found[0][0], found[-1]] == ["RolledBack", ("Unrecoverable", "before its effect")]
    assert f"step {step} " in found[0][1]
    assert step not in faults.undone
    assert dumps(postgres) == empty


@pytest.mark.parametrize("step", NAMES)
async def test_an_unknown_step_leaves_the_server_as_it_was(
    serving: Onboarding, postgres: Cluster, empty: Any, task_queue: str, step: str
) -> None:
    """A step doesn't know whether it took effect, and it did, thrice; each step and each undo runs twice."""
    faults = Faults(after=(f"acme/{step}",), twice=True)
    async with serving(faults) as client:
        found = causes(await failure_of(await onboard(client, task_queue)))
    assert [found[0][0], found[-1]] == ["RolledBack", ("OutcomeUnknown", "after its effect")]
    assert (step in faults.undone) is (step != CHECK)
    assert dumps(postgres) == empty


async def test_timeouts_leave_the_server_as_it_was(
    serving: Onboarding, postgres: Cluster, empty: Any, task_queue: str
) -> None:
    """A tenant for each operation, at once: it takes effect, and runs into its timeout."""
    steps = [CHECK, *(step.name for step in FIRST.values())]
    faults = Faults(hang=tuple(f"t{number}/{step}" for number, step in enumerate(steps)))
    async with serving(faults) as client:
        runs = [
            await start_hasty(client, task_queue, f"t{number}", step) for number, step in enumerate(steps)
        ]
        found = [causes(await failure_of(run, 60)) for run in runs]
    assert [kinds[0][0] for kinds in found] == ["RolledBack"] * len(steps)
    assert [re.findall(r"step (\S+) ", kinds[0][1])[0] for kinds in found] == steps
    assert {kinds[-1][0] for kinds in found} == {TimeoutType.START_TO_CLOSE}
    assert dumps(postgres) == empty


async def start_hasty(client: Client, task_queue: str, name: str, hasty: str) -> Any:
    """Start the onboarding of a tenant as a plan, in which one step has little time and one try."""
    plan = onboard_tenant.plan(spec(name))
    little = {"timeout": timedelta(seconds=5), "retry": Retry(max_attempts=1)}
    steps = tuple(step.model_copy(update=little if step.name == hasty else {}) for step in plan.steps)
    plan = plan.model_copy(update={"steps": steps})
    return await start(client, "saga", plan.to_json(), id=new_id(name), task_queue=task_queue)


# --- somebody else's ---

THEIRS = {
    "the tenant's role": ("CREATE ROLE acme", "owner", "role acme"),
    "the reader": ("CREATE ROLE acme_reader", "reader", "role acme_reader"),
    "a role with another note": (
        "CREATE ROLE acme; COMMENT ON ROLE acme IS 'made by counterstep, key 0'",
        "owner",
        "role acme",
    ),
    "the database": ("CREATE DATABASE acme", "database", "database acme"),
}


@pytest.mark.parametrize("lost", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize("theirs", THEIRS)
async def test_somebody_elses_is_left_alone(
    serving: Onboarding, postgres: Cluster, task_queue: str, theirs: str, lost: bool
) -> None:
    """A name that is taken fails its step; what had it stays, also when the step's outcome is unknown."""
    statement, step, what = THEIRS[theirs]
    postgres.query(statement)
    before = dumps(postgres)
    faults = Faults(lost=(f"acme/{step}",) if lost else (), twice=True)
    async with serving(faults) as client:
        found = causes(await failure_of(await onboard(client, task_queue)))
    assert found[0][0] == "RolledBack" and f"step {step} " in found[0][1]
    assert lost or found[-1][1] == f"{what} is there already, and isn't this step's: choose another name"
    assert (step in faults.undone) is lost
    assert dumps(postgres) == before


async def test_the_same_tenant_twice(serving: Onboarding, postgres: Cluster, task_queue: str) -> None:
    """A second run with the same name fails, and the first one's tenant doesn't notice."""
    async with serving(Faults()) as client:
        await (await onboard(client, task_queue)).result()
        before = dumps(postgres)
        assert causes(await failure_of(await onboard(client, task_queue)))[0][0] == "RolledBack"
    assert dumps(postgres) == before
    assert len(log_in(postgres, "acme", "acme", "TABLE app.plans")) == 3


async def test_what_was_granted_before_stays(postgres: Cluster) -> None:
    """An undo takes back the privileges that its step has granted, not those that were there."""
    server = Server(postgres.dsn())
    postgres.query("CREATE ROLE guest; CREATE TABLE t (); GRANT SELECT ON t TO guest")
    before = postgres.catalog()
    ctx = Context.of(server)
    given = Grant(
        database="postgres", on="TABLE", name="public.t", role="guest", privileges=["SELECT", "INSERT"]
    )
    assert (await grant(ctx, given)).new == ["INSERT"]
    await undo(grant, ctx, given)
    assert postgres.catalog() == before
    postgres.query("DROP TABLE t")


async def test_grants_on_one_object_at_once(postgres: Cluster) -> None:
    """Privileges on one table are granted and revoked side by side; PostgreSQL alone would refuse some of that."""
    before, roles = postgres.catalog(), [f"guest_{number}" for number in range(8)]
    postgres.query("CREATE TABLE t ()")
    postgres.query(";".join(f"CREATE ROLE {role}" for role in roles))
    given = [
        Grant(database="postgres", on="TABLE", name="public.t", role=role, privileges=["SELECT"])
        for role in roles
    ]
    contexts = [Context.of(Server(postgres.dsn()), idempotency_key=role) for role in roles]
    for _ in range(3):
        await asyncio.gather(*map(grant, contexts, given))
        assert postgres.catalog().count("lets guest_") == len(roles)
        await asyncio.gather(*(undo(grant, ctx, input) for ctx, input in zip(contexts, given, strict=True)))
        assert postgres.catalog().count("lets guest_") == 0
    postgres.query("DROP TABLE t")
    postgres.clear()
    assert postgres.catalog() == before


async def test_a_server_that_names_no_encoding(postgres: Cluster) -> None:
    """Where a database is SQL_ASCII, as on a machine without a locale, a step knows its own work, and undoes it."""
    postgres.query("CREATE DATABASE plain TEMPLATE template0 ENCODING 'SQL_ASCII'")
    assert postgres.query("SHOW server_encoding", "plain") == [(b"SQL_ASCII",)]
    ctx, given = Context.of(Server(postgres.dsn("plain"))), NewRole(name="acme")
    for _ in range(2):
        await create_role(ctx, given)
    await undo(create_role, ctx, given)
    assert postgres.query("SELECT rolname FROM pg_roles WHERE rolname = 'acme'") == []


async def test_what_was_put_into_a_schema_isnt_dropped(postgres: Cluster) -> None:
    """The undo of a schema fails while something is in it that isn't the saga's."""
    ctx, given = (
        Context.of(Server(postgres.dsn())),
        NewSchema(database="postgres", name="app", owner="postgres"),
    )
    await create_schema(ctx, given)
    postgres.query("CREATE TABLE app.theirs ()")
    with pytest.raises(errors.DependentObjectsStillExist):
        await undo(create_schema, ctx, given)
    postgres.query("DROP TABLE app.theirs")
    await undo(create_schema, ctx, given)


# --- step by step, without Temporal ---


async def undo(op: Operation[Any, Any], ctx: Context[Any], input: Any, status: str = "unknown") -> None:
    """Call an undo as a run does: it gets what was saved, and may say that there is nothing to do."""
    assert op.undo_handler is not None
    with contextlib.suppress(Skip):
        await op.undo_handler.handler(ctx, input, Outcome(status, saved=ctx.saved))


class Walk:
    """Walks through the plan, calling its operations as plain functions."""

    def __init__(self, postgres: Cluster) -> None:
        self.postgres, self.server = postgres, Server(postgres.dsn())

    def call(
        self, step: OperationStep, server: Server | None = None, saved: Any = None
    ) -> tuple[Any, Context[Any], Any]:
        """Give the operation of a step, a context and its input."""
        op = BY_NAME[step.operation]
        ctx = Context.of(
            server or self.server,
            step=step.name,
            idempotency_key=f"key-of-{step.name}",
            saved=saved,
            secrets=OnePassword(),
        )
        return op, ctx, op.input.load_value(step.input, step.name)

    async def go(self, step: OperationStep) -> tuple[Any, Context[Any], Any]:
        op, ctx, input = self.call(step)
        await op(ctx, input)
        return op, ctx, input


async def test_every_operation_and_every_undo_bears_being_run_twice(postgres: Cluster) -> None:
    """Once more changes nothing; an undo, once or twice, leaves what was there before its step."""
    walk, catalogs, taken = Walk(postgres), [postgres.catalog()], list[Any]()
    for step in CHANGES:
        op, ctx, input = walk.call(step)
        output = await op(ctx, input)
        catalogs.append(postgres.catalog())
        assert catalogs[-1] != catalogs[-2], step.name
        assert await op(ctx, input) == output
        assert postgres.catalog() == catalogs[-1], step.name
        taken.append((op, ctx, input))
    for op, ctx, input in reversed(taken):
        catalogs.pop()
        for status in ("done", "unknown"):
            await undo(op, ctx, input, status)
            assert postgres.catalog() == catalogs[-1], ctx.step
    for op, ctx, input in taken:
        await undo(op, ctx, input)
    assert postgres.catalog() == catalogs[0]


async def test_every_undo_bears_that_nothing_happened(postgres: Cluster) -> None:
    """Before its step, and with nothing saved, an undo changes nothing."""
    walk = Walk(postgres)
    for step in CHANGES:
        before = postgres.catalog()
        op, ctx, input = walk.call(step)
        await undo(op, ctx, input)
        assert postgres.catalog() == before, step.name
        await walk.go(step)


# --- connections that break ---


class Fragile(psycopg.AsyncConnection[Any]):
    """A connection that the server ends at a chosen moment: before a statement, before or after a commit."""

    left: list[int]
    dsn: str

    async def tick(self) -> None:
        self.left[0] -= 1
        if self.left[0] == 0:
            async with await psycopg.AsyncConnection.connect(self.dsn) as other:
                await other.execute("SELECT pg_terminate_backend(%s, 5000)", [self.info.backend_pid])

    async def execute(self, *args: Any, **options: Any) -> Any:
        await self.tick()
        return await super().execute(*args, **options)

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        async with super().transaction(*args, **options) as transaction:
            yield transaction
            await self.tick()
        await self.tick()
        if self.left[0] == 0:
            await super().execute("SELECT 'was it committed?'")


@dataclass(frozen=True)
class Breaking(Server):
    """A server whose n-th moment ends the connection that it falls on."""

    left: list[int] = field(default_factory=list)

    async def open(self, **instead: Any) -> Connection:
        made = await Fragile.connect(self.dsn, autocommit=True, **instead)
        made.left, made.dsn = self.left, self.dsn
        return made


async def breaks(
    call: Callable[[Server], Awaitable[Any]], dsn: str, moment: int, raises: type[Exception] = OutcomeUnknown
) -> bool:
    """Call with a connection that breaks at the given moment; whether there was such a moment."""
    server = Breaking(dsn, [moment])
    try:
        await call(server)
    except (OutcomeUnknown, raises):
        assert server.left[0] <= 0
        return True
    assert server.left[0] > 0, "nobody noticed that the connection broke"
    return False


@pytest.mark.parametrize("step", FIRST.values(), ids=FIRST)
async def test_broken_connections(postgres: Cluster, step: OperationStep) -> None:
    """Wherever the connection breaks: undone, the step never happened; run again, it comes out the same."""
    walk = Walk(postgres)
    for earlier in CHANGES[: CHANGES.index(step)]:
        await walk.go(earlier)
    before = postgres.catalog()
    op, ctx, input = await walk.go(step)
    after, kept = masked(postgres.catalog()), ctx
    await undo(op, ctx, input)

    async def forward(server: Server) -> None:
        nonlocal kept
        kept = walk.call(step, server)[1]
        await op(kept, input)

    def once_more() -> Context[Any]:
        return walk.call(step, saved=kept.saved)[1]

    moment = 1
    while await breaks(forward, walk.server.dsn, moment):
        await undo(op, once_more(), input)
        assert postgres.catalog() == before, moment
        assert await breaks(forward, walk.server.dsn, moment)
        again = once_more()
        await op(again, input)
        assert masked(postgres.catalog()) == after, moment
        await undo(op, again, input)
        moment += 1
    assert moment > 5
    await op(ctx, input)
    await undo_with_breaks(walk, op, ctx, input, before)


async def undo_with_breaks(walk: Walk, op: Any, ctx: Context[Any], input: Any, before: str) -> None:
    """Break the connection of an undo wherever it can break, and undo again."""

    async def backward(server: Server) -> None:
        await undo(op, replace(ctx, deps=server), input)

    moment = 1
    while await breaks(backward, walk.server.dsn, moment, psycopg.OperationalError):
        await undo(op, ctx, input)
        assert walk.postgres.catalog() == before, moment
        await op(ctx, input)
        moment += 1
    assert moment >= 3


async def test_an_undo_waits_for_a_lost_execution(postgres: Cluster) -> None:
    """An execution that was taken for lost still runs when its undo begins: nothing of it is left."""
    before = postgres.catalog()
    for op, given in (
        (create_role, NewRole(name="acme")),
        (create_database, NewDatabase(name="acme", owner="postgres")),
    ):
        server = Slow(postgres.dsn())
        running = asyncio.create_task(op(Context.of(server), given))
        await server.reached.wait()
        undoing = asyncio.create_task(undo(op, Context.of(Server(postgres.dsn())), given))
        await eventually(functools.partial(postgres.query, WAITING))
        server.go_on.set()
        await asyncio.gather(running, undoing)
        assert postgres.catalog() == before


WAITING = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass(frozen=True)
class Slow(Server):
    """A server on which an object that was made isn't claimed before the test lets it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, **instead: Any) -> Connection:
        connection = await super().open(**instead)
        execute = connection.execute

        async def slowly(query: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(query, str) and "COMMENT" in query.as_string(connection):
                self.reached.set()
                await self.go_on.wait()
            return await execute(query, *args, **options)

        connection.execute = slowly  # type: ignore[method-assign]
        return connection

"""The demo's operations as plain functions, on real files and processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from activities import Context, Outcome, OutcomeUnknown, Unrecoverable
from examples.release import inspection, processes
from examples.release.inspection import ask, look
from examples.release.layout import Site
from examples.release.operations import (
    CheckHealth,
    Health,
    Port,
    ReservePort,
    Service,
    StartService,
    Stopped,
    StopService,
    Switched,
    SwitchTraffic,
    UnpackRelease,
    check_health,
    give_port_back,
    remove_release,
    reserve_port,
    start_again,
    start_service,
    stop_service,
    stop_started,
    switch_back,
    switch_traffic,
    unpack_release,
)

UNKNOWN: Outcome[Any] = Outcome(status="unknown")
KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with a good release 1.0.0 and a broken 2.0.0; its services are stopped in the end."""
    site = Site(tmp_path)
    site.publish("1.0.0")
    site.publish("2.0.0", healthy=False)
    yield site
    for home in site.services.iterdir():
        processes.stop(home)


def ctx(site: Site, key: str = KEY, saved: Any = None) -> Context[Site]:
    return Context.of(site, idempotency_key=key, saved=saved)


async def call(handler: Callable[..., Any], *given: Any) -> Any:
    """Call an operation or an undo as a worker does: `async def` in the loop, `def` in a thread."""
    result = await asyncio.to_thread(handler, *given)
    return await result if asyncio.iscoroutine(result) else result


async def started(site: Site, version: str = "1.0.0", key: str = KEY) -> Service:
    """Take the steps of a rollout up to the running service."""
    port = await call(reserve_port, ctx(site, key), ReservePort(version=version))
    release = await call(unpack_release, ctx(site, key), UnpackRelease(version=version))
    return await call(start_service, ctx(site, key), StartService(folder=release.folder, port=port.number))


def start_input(site: Site, service: Service) -> StartService:
    launch = processes.launched(site.services / service.id)
    return StartService(folder=launch.release, port=launch.port)


class TestReservePort:
    async def test_the_port_is_free_and_written_down(self, site: Site) -> None:
        """The port can be bound, and one file says its number."""
        port = await call(reserve_port, ctx(site), ReservePort(version="1.0.0"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port.number))
        assert [file.read_text() for file in site.ports.iterdir()] == [str(port.number)]

    async def test_the_same_key_gets_the_same_port(self, site: Site) -> None:
        """Called again, the operation gives the port that it reserved first."""
        first, again = [await call(reserve_port, ctx(site), ReservePort(version="1.0.0")) for _ in range(2)]
        assert first == again

    async def test_five_calls_at_once_with_one_key_reserve_one_port(self, site: Site) -> None:
        """Five calls beside each other with one key come out with one number."""
        calls = [call(reserve_port, ctx(site), ReservePort(version="1.0.0")) for _ in range(5)]
        assert len({port.number for port in await asyncio.gather(*calls)}) == 1

    async def test_other_keys_get_other_ports(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Eight keys in a range of forty ports get eight numbers."""
        monkeypatch.setattr("examples.release.operations.PORTS", range(20_000, 20_040))
        keys = [letter * 64 for letter in "abcdefgh"]
        ports = [await call(reserve_port, ctx(site, key), ReservePort(version="1.0.0")) for key in keys]
        assert len({port.number for port in ports}) == 8

    async def test_says_what_to_do_when_every_port_is_taken(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With no port left it fails, saying that a service must be stopped."""
        monkeypatch.setattr("examples.release.operations.PORTS", range(0))
        with pytest.raises(RuntimeError, match="is taken: stop a service"):
            await call(reserve_port, ctx(site), ReservePort(version="1.0.0"))

    async def test_the_undo_gives_it_back_also_twice(self, site: Site) -> None:
        """After one undo and after two only the other key's reservation is there."""
        port = await call(reserve_port, ctx(site), ReservePort(version="1.0.0"))
        await call(reserve_port, ctx(site, OTHER), ReservePort(version="1.0.0"))
        for outcome in (Outcome(status="done", output=port), UNKNOWN):
            await call(give_port_back, ctx(site), ReservePort(version="1.0.0"), outcome)
            assert [file.name for file in site.ports.iterdir()] == ["b" * 16]

    async def test_the_undo_of_what_never_happened_does_nothing(self, site: Site) -> None:
        """An undo with an unknown outcome, of a call that never was, finds nothing and fails at nothing."""
        outcome: Outcome[Port] = UNKNOWN
        await call(give_port_back, ctx(site), ReservePort(version="1.0.0"), outcome)
        assert list(site.ports.iterdir()) == []


class TestUnpackRelease:
    async def test_the_release_has_a_folder_of_its_own(self, site: Site) -> None:
        """It holds the archive's two files, under the folder of all releases."""
        release = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        assert sorted(file.name for file in Path(release.folder).iterdir()) == ["release.json", "service.py"]
        assert Path(release.folder).parent == site.releases

    async def test_the_same_key_gets_the_same_folder_untouched(self, site: Site) -> None:
        """The second call gives the same folder, not made anew: its inode is the same."""
        first = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        inode = Path(first.folder).stat().st_ino
        again = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        assert (again, Path(again.folder).stat().st_ino) == (first, inode)

    async def test_five_calls_at_once_with_one_key_unpack_one_folder(self, site: Site) -> None:
        """One folder is there after five calls beside each other, and no half-made one."""
        calls = [call(unpack_release, ctx(site), UnpackRelease(version="1.0.0")) for _ in range(5)]
        await asyncio.gather(*calls)
        assert len(list(site.releases.iterdir())) == 1
        assert list(site.root.glob(".release-*")) == []

    async def test_an_unknown_release_is_refused_naming_those_there_are(self, site: Site) -> None:
        """It is not tried again; the message lists 1.0.0 and 2.0.0; no folder is made."""
        with pytest.raises(
            Unrecoverable, match=r"no release 3\.0\.0, but 1\.0\.0, 2\.0\.0: publish it first"
        ):
            await call(unpack_release, ctx(site), UnpackRelease(version="3.0.0"))
        assert list(site.releases.iterdir()) == []

    async def test_a_broken_archive_leaves_nothing_behind(self, site: Site) -> None:
        """What isn't a zip file fails, with no release and no half-made folder left."""
        site.archive("4.0.0").write_bytes(b"no zip")
        with pytest.raises(Exception, match="not a zip file"):
            await call(unpack_release, ctx(site), UnpackRelease(version="4.0.0"))
        assert list(site.releases.iterdir()) == list(site.root.glob(".release-*")) == []

    async def test_the_undo_removes_it_also_twice_and_leaves_others(self, site: Site) -> None:
        """After one undo and after two only the other key's folder is there."""
        release = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        other = await call(unpack_release, ctx(site, OTHER), UnpackRelease(version="1.0.0"))
        for outcome in (Outcome(status="done", output=release), UNKNOWN):
            await call(remove_release, ctx(site), UnpackRelease(version="1.0.0"), outcome)
            assert [str(folder) for folder in site.releases.iterdir()] == [other.folder]

    async def test_the_undo_of_what_never_happened_does_nothing(self, site: Site) -> None:
        """An undo with an unknown outcome, of a call that never was, leaves no folder and no error."""
        await call(remove_release, ctx(site), UnpackRelease(version="1.0.0"), UNKNOWN)
        assert list(site.releases.iterdir()) == []


class TestStartService:
    async def test_it_answers_with_its_version_from_a_session_of_its_own(self, site: Site) -> None:
        """It says 1.0.0 on its port, and leads a session of its own, not the worker's."""
        service = await started(site)
        assert ask(service.port) == "1.0.0"
        assert os.getsid(service.pid) == service.pid != os.getsid(0)

    async def test_the_same_key_finds_the_process_that_runs(self, site: Site) -> None:
        """The second call gives the same process, and no other runs."""
        service = await started(site)
        assert await started(site) == service
        assert look(site).running == {service.id}

    async def test_five_calls_at_once_with_one_key_start_one_process(self, site: Site) -> None:
        """Five calls beside each other give one pid, and one process runs."""
        port = await call(reserve_port, ctx(site), ReservePort(version="1.0.0"))
        release = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        start = StartService(folder=release.folder, port=port.number)
        services = await asyncio.gather(*(call(start_service, ctx(site), start) for _ in range(5)))
        assert len({service.pid for service in services}) == 1
        assert processes_of(site) == [services[0].pid]

    async def test_after_its_process_died_the_same_key_starts_it_anew(self, site: Site) -> None:
        """Killed, it is there again under its id and port, with another pid."""
        service = await started(site)
        os.kill(service.pid, signal.SIGKILL)
        await gone(service.pid)
        again = await started(site)
        assert (again.id, again.port, ask(again.port)) == (service.id, service.port, "1.0.0")
        assert again.pid != service.pid

    async def test_a_port_that_is_taken_is_a_failure_that_leaves_nothing(self, site: Site) -> None:
        """The failure names the address, and no service is left."""
        release = await call(unpack_release, ctx(site), UnpackRelease(version="1.0.0"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(
                processes.NotStarted, match=f"can't serve on 127.0.0.1:{port}: Address already in use"
            ):
                await call(start_service, ctx(site), StartService(folder=release.folder, port=port))
        assert look(site).services == frozenset()

    async def test_the_undo_stops_and_forgets_it_also_twice(self, site: Site) -> None:
        """After one undo and after two nothing answers, nothing is kept, and the process ends."""
        service = await started(site)
        start = start_input(site, service)
        for outcome in (Outcome(status="done", output=service), UNKNOWN):
            await call(stop_started, ctx(site), start, outcome)
            assert (ask(service.port), look(site).services) == (None, frozenset())
        await gone(service.pid)

    async def test_the_undo_finds_it_when_nobody_knows_how_far_it_came(self, site: Site) -> None:
        """With no output to tell it where, the undo stops the process all the same."""
        service = await started(site)
        await call(stop_started, ctx(site), start_input(site, service), UNKNOWN)
        await gone(service.pid)

    async def test_the_undo_leaves_other_services_alone(self, site: Site) -> None:
        """Of two services the other one still answers."""
        first, second = await started(site), await started(site, key=OTHER)
        await call(stop_started, ctx(site), start_input(site, first), Outcome(status="done", output=first))
        assert (ask(first.port), ask(second.port)) == (None, "1.0.0")

    async def test_the_undo_of_what_never_happened_does_nothing(self, site: Site) -> None:
        """An undo of a start that never was finds nothing and fails at nothing."""
        await call(stop_started, ctx(site), StartService(folder="nowhere", port=1), UNKNOWN)
        assert look(site).services == frozenset()

    async def test_a_pid_that_became_somebody_elses_is_not_killed(self, site: Site) -> None:
        """The file names this test's own pid: the undo forgets the service, and the test lives on."""
        service = await started(site)
        os.kill(service.pid, signal.SIGKILL)
        await gone(service.pid)
        (site.services / service.id / "pid").write_text(str(os.getpid()))
        await call(stop_started, ctx(site), start_input(site, service), UNKNOWN)
        assert look(site).services == frozenset()


class TestCheckHealth:
    async def test_a_good_release_is_well(self, site: Site) -> None:
        """1.0.0 gives status 200."""
        service = await started(site)
        assert await call(check_health, ctx(site), CheckHealth(port=service.port)) == Health(status=200)

    async def test_a_broken_release_fails_with_its_status(self, site: Site) -> None:
        """2.0.0 fails with its port and 503."""
        service = await started(site, "2.0.0")
        with pytest.raises(
            RuntimeError, match=f"port {service.port} isn't well: /healthz answers 503, not 200"
        ):
            await call(check_health, ctx(site), CheckHealth(port=service.port))

    async def test_a_service_that_is_not_there_fails(self, site: Site) -> None:
        """Nothing listens there: the connection is refused."""
        with pytest.raises(ConnectionRefusedError):
            await call(check_health, ctx(site), CheckHealth(port=1))


class TestSwitchTraffic:
    async def test_the_first_one_gets_the_traffic_from_nobody(self, site: Site) -> None:
        """There was no link: it points to the service now, and the output's previous is none."""
        assert await call(switch_traffic, ctx(site), SwitchTraffic(service="one")) == Switched(previous=None)
        assert site.serving() == "one"

    async def test_a_second_attempt_still_knows_who_had_it_first(self, site: Site) -> None:
        """What the first one found counts, not where the link points by now: also in a run that was reset."""
        site.point("one")
        for _ in range(2):
            assert await call(switch_traffic, ctx(site), SwitchTraffic(service="two")) == Switched(
                previous="one"
            )
            assert site.serving() == "two"

    async def test_the_undo_points_back_also_twice(self, site: Site) -> None:
        """After one undo and after two the link points to who had it first, and nothing is left of the switch."""
        site.point("one")
        await call(switch_traffic, ctx(site), SwitchTraffic(service="two"))
        for _ in range(2):
            await call(switch_back, ctx(site), SwitchTraffic(service="two"), UNKNOWN)
            assert (site.serving(), list(site.switches.iterdir())) == ("one", [])

    async def test_the_undo_of_the_first_one_removes_the_link(self, site: Site) -> None:
        """Where there was none before, there is none afterwards."""
        await call(switch_traffic, ctx(site), SwitchTraffic(service="one"))
        await call(switch_back, ctx(site), SwitchTraffic(service="one"), UNKNOWN)
        assert (site.serving(), site.current.is_symlink()) == (None, False)

    async def test_the_undo_of_what_never_happened_does_nothing(self, site: Site) -> None:
        """Where the link doesn't point to this service, an undo leaves it."""
        site.point("one")
        await call(switch_back, ctx(site), SwitchTraffic(service="two"), UNKNOWN)
        assert site.serving() == "one"

    async def test_the_undo_takes_no_traffic_from_a_later_rollout(self, site: Site) -> None:
        """Somebody else has the traffic since: it keeps it."""
        site.point("one")
        await call(switch_traffic, ctx(site), SwitchTraffic(service="two"))
        site.point("three")
        await call(switch_back, ctx(site), SwitchTraffic(service="two"), UNKNOWN)
        assert site.serving() == "three"


class TestStopService:
    async def test_stops_the_process_and_keeps_how_it_was_started(self, site: Site) -> None:
        """Nothing answers, the service is still known, and saved says that it ran."""
        service = await started(site)
        context = ctx(site, OTHER)
        assert await call(stop_service, context, StopService(service=service.id)) == Stopped(ran=True)
        assert (ask(service.port), look(site).services) == (None, {service.id})
        assert context.saved == {"ran": True}

    async def test_a_second_attempt_still_knows_that_it_ran(self, site: Site) -> None:
        """It is stopped by now, and the output still says that it ran."""
        service = await started(site)
        processes.stop(site.services / service.id)
        context = ctx(site, OTHER, saved={"ran": True})
        assert await call(stop_service, context, StopService(service=service.id)) == Stopped(ran=True)

    async def test_one_that_outlives_it_all_is_unknown(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that ignores its signals makes the outcome unknown, saying where to look."""
        service = await started(site)
        monkeypatch.setattr(processes, "STOP_SECONDS", 0.05)
        with monkeypatch.context() as deaf:
            deaf.setattr("os.kill", lambda *_: None)
            with pytest.raises(OutcomeUnknown, match="doesn't end; look at its process"):
                await call(stop_service, ctx(site, OTHER), StopService(service=service.id))

    async def test_the_undo_starts_it_again_also_twice(self, site: Site) -> None:
        """After one undo and after two it answers, and one process runs."""
        service = await started(site)
        await call(stop_service, ctx(site, OTHER), StopService(service=service.id))
        outcome: Outcome[Stopped] = Outcome(status="done", output=Stopped(ran=True), saved={"ran": True})
        for _ in range(2):
            await call(start_again, ctx(site, OTHER), StopService(service=service.id), outcome)
            assert ask(service.port) == "1.0.0"
        assert len(processes_of(site)) == 1

    async def test_the_undo_of_what_never_happened_does_nothing(self, site: Site) -> None:
        """It was never stopped: the undo starts no second one."""
        service = await started(site)
        await call(start_again, ctx(site, OTHER), StopService(service=service.id), UNKNOWN)
        assert processes_of(site) == [service.pid]

    async def test_the_undo_starts_none_that_did_not_run_before(self, site: Site) -> None:
        """What didn't run before the step isn't started by its undo."""
        service = await started(site)
        processes.stop(site.services / service.id)
        outcome: Outcome[Stopped] = Outcome(status="done", output=Stopped(ran=False), saved={"ran": False})
        await call(start_again, ctx(site, OTHER), StopService(service=service.id), outcome)
        assert look(site).running == frozenset()


class TestInspection:
    async def test_says_what_answers_behind_current(self, site: Site) -> None:
        """The claim names the address and the version that answered, and is true."""
        service = await started(site)
        site.point(service.id)
        said = inspection.answers(site, "1.0.0")
        assert (said.claim, said.true) == (
            f"1.0.0 answers (http://127.0.0.1:{service.port}/ says 1.0.0)",
            True,
        )

    async def test_another_version_behind_current_is_no_answer(self, site: Site) -> None:
        """2.0.0 behind the link makes the claim about 1.0.0 false."""
        site.point((await started(site, "2.0.0")).id)
        assert inspection.answers(site, "1.0.0").true is False

    async def test_each_thing_left_behind_makes_its_claim_false(self, site: Site) -> None:
        """A running 2.0.0 makes three claims false; the traffic's stays true."""
        before = look(site)
        await started(site, "2.0.0")
        claims = {
            finding.claim: finding.true for finding in inspection.unchanged(before, look(site), "2.0.0")
        }
        assert claims == {
            "2.0.0 is stopped": False,
            "the folder of 2.0.0 is removed": False,
            "the port of 2.0.0 is given back": False,
            "the traffic goes where it went": True,
        }


def processes_of(site: Site) -> list[int]:
    """The pids of all services that run from this site, told by their command lines."""
    found = psutil.process_iter(["cmdline", "status"])
    alive = [process for process in found if process.info["status"] != psutil.STATUS_ZOMBIE]
    return [process.pid for process in alive if str(site.services) in " ".join(process.info["cmdline"] or [])]


async def gone(pid: int) -> None:
    """Wait until the process has ended."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.02)

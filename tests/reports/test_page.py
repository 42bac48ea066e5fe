"""The HTML page, looked at and used in a real browser."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities import Failure, Status
from counterstep.reports import Decision, Delay, Execution, Kind, Planned, Report, RunInfo, page
from tests.reports.browser import CHROMIUM, WHY_NOT, Browser, browser
from tests.reports.making import AT, report
from tests.reports.recording import recorded

AnyReport = Report[Any, Any]
LIMIT = 10 * 1024 * 1024
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{DATA}}"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def ran(name: str, start: float, end: float, **values: Any) -> AnyReport:
    moments = [AT + timedelta(seconds=second) for second in (start, start + (end - start) * 0.1, end)]
    times = {"scheduled": moments[0], "started": moments[1], "finished": moments[2], "timestamp": moments[2]}
    return report("op", **{**times, "step": name, "attempts": 1, **values})


def flow(*children: AnyReport, plan: Any = (), state: str = "rolled_back", **values: Any) -> AnyReport:
    info = RunInfo("default", "launch-1", "r", "r", "launch@1.0.0", "failed", state, 100, ("r",))
    made = ran("", 0, 100, **{"result": (), **values})
    return replace(made, children=children, is_flow=True, kind=Kind.FLOW, run=info, plan=plan)


def large(count: int) -> AnyReport:
    """A saga of stages of eight, of which 60% ran before one failed, and half of those are undone."""
    plan, children, end = [], [], count * 6 // 10
    for number in range(count):
        stage, name = number // 8, f"vm-{number}"
        after = tuple(f"vm-{n}" for n in range((stage - 1) * 8, stage * 8)) if stage else ()
        plan.append(Planned(name, "operation", after, "op@1.0.0"))
        if number > end:
            continue
        step = ran(name, stage, stage + 1 + number % 3, input={"region": f"eu-{stage}", "size": number})
        if number == end:
            step = replace(
                step, outcome=Status.FAILED, error=Failure(type="RuntimeError", message="no quota")
            )
        elif number % 2:
            step = replace(step, undo=ran(name, end / 8 + 5, end / 8 + 6, result=()))
        children.append(step)
    return flow(*children, plan=tuple(plan), outcome=Status.FAILED)


def opened(chromium: Browser, made: AnyReport, tmp_path: Path, fragment: str = "", **size: Any) -> Browser:
    file = tmp_path / "report.html"
    file.write_text(page(made), encoding="utf-8")
    chromium.open(file, fragment, **size)
    return chromium


def names(tab: Browser) -> list[str]:
    """Give the names in sight, from the top."""
    ordered = "[...document.querySelectorAll('.row')].sort((a, b) => a.place - b.place)"
    return list(tab.run(f"{ordered}.map(row => row.querySelector('.name').textContent)"))


def text(tab: Browser, where: str) -> str:
    return str(tab.run(f"document.querySelector({json.dumps(where)}).innerText"))


def test_the_page_is_one_file_and_the_same_each_time() -> None:
    """No address of anything else is in it; the same report gives the same bytes; its policy names two hashes."""
    made = page(recorded("rollout-stuck").report("default"))
    assert made == page(recorded("rollout-stuck").report("default"))
    assert re.findall(r"https?://|src=|href=|@import|url\(", made) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made)
    assert policy is not None
    assert re.sub(r"sha256-[A-Za-z0-9+/=]+", "HASH", policy[1]) == (
        "default-src 'none'; style-src 'HASH'; script-src 'HASH'; base-uri 'none'"
    )


def test_a_hostile_value_does_not_run(chromium: Browser, tmp_path: Path) -> None:
    """A value, a name, a message and an operator's words with script in them are shown as text, and nothing else."""
    word = Decision("retry", AT, "x", HOSTILE, HOSTILE)
    error = Failure(type="Bad", message=HOSTILE)
    step = ran("x", 0, 1, input={HOSTILE: HOSTILE}, outcome=Status.FAILED, error=error, decisions=(word,))
    made = flow(replace(step, step=f"a{HOSTILE}"), error=error, decisions=(word,), input=HOSTILE)
    made = replace(made, definition=replace(made.definition, description=HOSTILE))
    tab = opened(chromium, made, tmp_path)
    tab.press("j", "Enter")
    assert tab.run("document.title") == f"launch-1: {made.definition}"
    assert tab.run("[document.images.length, document.scripts.length]") == [0, 2]
    assert text(tab, "#details h2") == f"a{HOSTILE}"
    assert HOSTILE in json.loads(text(tab, "#details pre"))
    assert (tab.complaints(), len(tab.requests())) == ([], 1)


def test_a_step_on_click(chromium: Browser, tmp_path: Path) -> None:
    """Input, output, error, attempts, undo of the step that was clicked; Esc closes."""
    tab = opened(chromium, recorded("rollout-stuck").report("default"), tmp_path)
    second = tab.run("document.querySelectorAll('.row')[1].getBoundingClientRect().toJSON()")
    tab.click(second["x"] + 60, second["y"] + 9)
    shown = text(tab, "#details")
    assert shown.splitlines()[0] == "unpack-release"
    for part in ("not undone", '"version": "1.0.0"', '"folder": "releases/store-1.0.0"', "attempts\n10"):
        assert part in shown, part
    assert "RuntimeError: undo-unpack-release is down" in shown
    tab.press("Escape")
    assert tab.run("document.querySelector('#details').hidden") is True


def test_the_keyboard_suffices(chromium: Browser, tmp_path: Path) -> None:
    """From step to step, to the one that failed, folding, finding, zooming, the plan, dark: without a mouse."""
    inner = flow(ran("dns/zone", 50, 60), ran("dns/record", 60, 70))
    dns = replace(inner, step="dns", run=None, kind=Kind.SUBSAGA, outcome=Status.DONE)
    steps = [ran(f"s{n}", n, n + 1) for n in range(30)]
    bad = ran("bad", 40, 41, outcome=Status.FAILED, error=Failure(type="E", message="no"))
    tab = opened(chromium, flow(*steps, bad, dns), tmp_path)
    picked = "document.querySelector('[aria-selected=true]').getAttribute('aria-label')"
    tab.press("ArrowDown", "ArrowDown", "j", "k")
    assert tab.run(picked) == "s1, done, 1.00 s"
    assert tab.run("document.activeElement.getAttribute('aria-activedescendant')") == "row-1"
    tab.press("n")
    assert tab.run(picked) == "bad, failed, 1.00 s" and text(tab, "#details h2") == "bad"
    tab.press("j", "ArrowLeft")
    assert names(tab)[-1] == "dns"
    tab.press("ArrowRight", "End")
    assert names(tab)[-2:] == ["zone", "record"] and tab.run(picked).startswith("dns/record")
    before = tab.run(
        "document.querySelectorAll('#ticks span').length && document.querySelector('#ticks').innerText"
    )
    tab.press("z")
    assert tab.run("document.querySelector('#ticks').innerText") != before
    tab.press("0", "/", "b", "a", "d")
    assert names(tab) == ["bad"] and text(tab, "#axis-names") == "1 of 34 steps"
    tab.press("Escape", "p")
    assert tab.run("[document.querySelector('#plan').hidden, document.activeElement.id]") == [
        False,
        "picture",
    ]
    tab.press("d")
    assert tab.run("document.documentElement.dataset.theme") == "dark"
    tab.press("?")
    assert tab.run("document.querySelector('#help').open") is True
    assert tab.complaints() == []


def test_what_stood_still_and_who_decided(chromium: Browser, tmp_path: Path) -> None:
    """A held step: its delay, its earlier executions, its decision; a wait and an approval; numbers keep all digits."""
    held = Delay("held", AT + timedelta(seconds=5), AT + timedelta(seconds=22), timedelta(days=7))
    before = Execution(
        AT, AT, AT + timedelta(seconds=5), 3, Status.FAILED, Failure(type="OSError", message="full")
    )
    word = Decision("retry", AT + timedelta(seconds=22), "vm", "ann", "disk was full")
    vm = ran(
        "vm",
        0,
        27,
        delays=(held,),
        earlier=(before,),
        decisions=(word,),
        attempts=4,
        result=(16015286601757825753,),
    )
    live = ran("live", 27, 70, kind=Kind.APPROVAL, result=({"by": "ann"},))
    tab = opened(chromium, flow(vm, ran("soak", 27, 40, kind=Kind.WAIT), live), tmp_path, "#step=vm")
    shown = text(tab, "#details")
    for part in (
        "retry by ann: disk was full",
        "held for 17.0 s",
        "failed, 3 attempts",
        "OSError: full",
        "16015286601757825753",
    ):
        assert part in shown, part
    kinds = (".delay", ".wait", "u", ".tries.failed")
    counts = [tab.run(f"document.querySelectorAll('#rows .track {kind}').length") for kind in kinds]
    assert counts == [1, 2, 1, 1]


def test_two_thousand_steps_are_fluent(chromium: Browser, tmp_path: Path) -> None:
    """However many steps there are, only those in sight are elements; scrolling to the end shows the end."""
    made = large(2000)
    tab = opened(chromium, made, tmp_path)
    assert len(page(made)) < LIMIT
    assert text(tab, "#axis-names") == "2,000 steps"
    assert tab.run("document.querySelectorAll('*').length") < 800
    tab.run("document.querySelector('#rows').scrollTop = 1e9")
    tab.settle()
    assert names(tab)[-1] == "vm-1999"
    assert tab.run("document.querySelectorAll('.row').length") < 60
    tab.press("n")
    assert text(tab, "#details h2") == "vm-1200"
    tab.press("p")
    assert tab.run("document.querySelector('#picture').getAttribute('aria-label')").startswith(
        "The plan: 2,000 nodes."
    )
    assert tab.complaints() == []


@pytest.mark.parametrize("view", ["timeline", "plan"])
def test_light_and_dark(chromium: Browser, tmp_path: Path, view: str) -> None:
    """Both themes paint a picture, light on dark and dark on light; the system's wish chooses."""
    report = recorded("tenant-rolled-back").report("default")
    light, dark = (
        measured(opened(chromium, report, tmp_path, f"#view={view}", dark=dark)) for dark in (False, True)
    )
    assert light[0] > 200 and dark[0] < 70
    assert light[1] > 50 and dark[1] > 50


MEASURE = """
new Promise(done => {
  const image = new Image();
  image.onload = () => {
    const pen = Object.assign(document.createElement('canvas'), {width: 140, height: 90}).getContext('2d');
    pen.drawImage(image, 0, 0, 140, 90);
    const bytes = pen.getImageData(0, 0, 140, 90).data, colours = new Set();
    let sum = 0;
    for (let at = 0; at < bytes.length; at += 4) {
      sum += bytes[at] + bytes[at + 1] + bytes[at + 2];
      colours.add((bytes[at] << 16) + (bytes[at + 1] << 8) + bytes[at + 2]);
    }
    done([sum / (bytes.length / 4) / 3, colours.size]);
  };
  image.src = 'data:image/png;base64,%s';
})
"""


def measured(tab: Browser) -> tuple[float, int]:
    """Give a picture's brightness, 0 to 255, and how many colours it has."""
    png = base64.b64encode(tab.picture()).decode()
    tab.call("Page.navigate", url="about:blank")
    while tab.run("location.href") != "about:blank":
        time.sleep(0.01)
    brightness, colours = tab.run(MEASURE % png)
    return brightness, colours


def test_large_values_are_cut() -> None:
    """Steps whose values have 80 MB together: the page has at most 10 MB, and says what is cut."""
    value = "x" * 40_000
    made = page(flow(*(ran(f"s{n}", n, n + 1, input=value, result=(value,)) for n in range(1000))))
    assert len(made.encode()) < LIMIT
    assert "… cut: 40002 characters in all" in made


def test_ten_thousand_steps_fit() -> None:
    """10,000 steps: at most 10 MB."""
    assert len(page(large(10_000)).encode()) < LIMIT

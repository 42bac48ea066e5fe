"""One HTML page that shows a report: a single file, readable offline, safe whatever the values are.

Values reach the page as JSON in a data block, in which no ``<`` is left, and its script writes them as text only. The
page's own security policy allows nothing but its one script and its one style sheet, by their hashes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from counterstep.reports._log import status_tree
from counterstep.reports._page_data import page_data
from counterstep.reports._report import Report
from counterstep.reports._words import name_of

AnyReport = Report[Any, Any]
SCRIPTS = ("dom.js", "model.js", "timeline.js", "plan.js", "details.js", "main.js")
_TEXT_FROM = 2_000
"""Steps up to which the page has a text for readers without scripts."""


def page(report: AnyReport) -> str:
    """Give the page. The same report gives the same bytes.

    Args:
        report: of a flow, from history. Where values are so large that the page would pass 10 MB, the largest are cut,
            and say so.
    """
    style, script = _asset("page.css"), _script()
    data = json.dumps(page_data(report), ensure_ascii=False, separators=(",", ":"))
    name = report.run.workflow_id if report.run else report.step
    parts = {
        "TITLE": escape(f"{name}: {name_of(report.definition)}"),
        "POLICY": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'",
        "TEXT": escape(_text(report)),
        "STYLE": style,
        "DATA": _inert(data),
        "SCRIPT": script,
    }
    return _filled(_asset("page.html"), parts)


def _filled(template: str, parts: dict[str, str]) -> str:
    """Fill a template in one pass, so that nothing in a value is taken for a place."""
    head, *rest = template.split("{{")
    filled = [head]
    for piece in rest:
        name, _, after = piece.partition("}}")
        filled += [parts[name], after]
    return "".join(filled)


def _inert(text: str) -> str:
    """Write JSON so that nothing in it can end the block it stands in."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(report: AnyReport) -> str:
    steps = sum(1 for _ in report.walk())
    return status_tree(report) if steps <= _TEXT_FROM else f"{steps} steps"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    body = "\n".join(_asset(name) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


@cache
def _asset(name: str) -> str:
    return (files("counterstep.reports") / "page" / name).read_text(encoding="utf-8")

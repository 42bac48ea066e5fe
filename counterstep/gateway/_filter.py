"""Filters of lists: a subset of AIP-160, parsed by recursive descent.

::

    filter      = [ conjunction ]
    conjunction = disjunction { ["AND"] disjunction }      two terms side by side mean AND
    disjunction = term { "OR" term }                       OR binds tighter than AND, as AIP-160 has it
    term        = ["NOT" | "-"] ( "(" conjunction ")" | field ("=" | "!=" | ":") value )
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from counterstep.gateway._errors import GatewayError, invalid
from counterstep.gateway._states import STATES

LENGTH_LIMIT = 2000
DEPTH_LIMIT = 20
TERM_LIMIT = 50
FIELDS = ("done", "definition", "state")

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<op><=|>=|!=|[<>=:()])|(?P<text>[^\s()<>=!:"']+))"""
)


@dataclass(frozen=True)
class Facts:
    """What filters look at."""

    done: bool
    state: str
    definition: str


@dataclass(frozen=True)
class Comparison:
    """A field beside a value."""

    field: str
    value: str
    equal: bool = True

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of an operation."""
        if self.field == "done":
            same = facts.done == (self.value == "true")
        elif self.field == "state":
            same = facts.state == self.value
        else:
            same = fits_definition(self.value, facts.definition)
        return same == self.equal


@dataclass(frozen=True)
class All:
    """True when each of its terms is."""

    terms: tuple[Filter, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of an operation."""
        return all(term.holds(facts) for term in self.terms)


@dataclass(frozen=True)
class AnyOf:
    """True when one of its terms is."""

    terms: tuple[Filter, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of an operation."""
        return any(term.holds(facts) for term in self.terms)


@dataclass(frozen=True)
class Not:
    """True when its term isn't."""

    term: Filter

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of an operation."""
        return not self.term.holds(facts)


Filter = Comparison | All | AnyOf | Not
EVERYTHING = All(())


def fits_definition(wanted: str, workflow_type: str) -> bool:
    """Whether a workflow type is the definition: all of ``id@1.0.0``, or its ``id``; ``*`` at the end is any rest."""
    if wanted.endswith("*"):
        return workflow_type.startswith(wanted[:-1])
    return wanted in (workflow_type, workflow_type.partition("@")[0])


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        GatewayError: INVALID_ARGUMENT, saying where it goes wrong.
    """
    if len(text) > LENGTH_LIMIT:
        raise _refused(f"has {len(text)} characters, {LENGTH_LIMIT} are allowed")
    return _Parser(_tokens(text)).whole()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _refused(f"can't be read at character {at + 1}")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
        at = match.end()
    return [*found, _Token("end", "the end", len(text) + 1)]


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Filter:
        if self._next.kind == "end":
            return EVERYTHING
        found = self._conjunction()
        if self._next.kind != "end":
            raise self._unexpected("AND or OR")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _word(self, word: str) -> bool:
        """Take a keyword, or a sign, if it comes next."""
        if self._next.kind in ("text", "op") and self._next.text == word:
            self._at += 1
            return True
        return False

    def _unexpected(self, wanted: str) -> GatewayError:
        return _refused(f"character {self._next.at}: wanted {wanted}, found {self._next.text[:50]!r}")

    def _conjunction(self) -> Filter:
        terms = [self._disjunction()]
        while self._word("AND") or not (self._next.kind == "end" or self._next.text in (")", "OR")):
            terms.append(self._disjunction())
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _disjunction(self) -> Filter:
        terms = [self._term()]
        while self._word("OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _term(self) -> Filter:
        self._terms += 1
        if self._terms > TERM_LIMIT:
            raise _refused(f"has more than {TERM_LIMIT} terms")
        if self._word("NOT"):
            return Not(self._simple())
        if self._next.kind == "text" and self._next.text.startswith("-"):
            self._tokens[self._at] = _Token("text", self._next.text[1:], self._next.at + 1)
            self._at += not self._next.text  # "-(": nothing is left of the word
            return Not(self._simple())
        return self._simple()

    def _simple(self) -> Filter:
        if not self._word("("):
            return self._comparison()
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise _refused(f"is nested more than {DEPTH_LIMIT} deep")
        found = self._conjunction()
        if not self._word(")"):
            raise self._unexpected("')'")
        self._depth -= 1
        return found

    def _comparison(self) -> Comparison:
        name = self._next
        if name.kind != "text" or name.text in ("AND", "OR", "NOT"):
            raise self._unexpected("a field")
        if name.text not in FIELDS:
            raise _refused(f"unknown field {name.text[:50]!r}; known are {', '.join(FIELDS)}")
        self._at += 1
        operator = self._next
        if operator.text not in ("=", "!=", ":") or operator.kind != "op":
            raise self._unexpected(f"=, != or : after {name.text}")
        self._at += 1
        return Comparison(name.text, self._value(name.text), operator.text != "!=")

    def _value(self, field: str) -> str:
        token = self._next
        if token.kind not in ("text", "string"):
            raise self._unexpected("a value")
        self._at += 1
        value = token.text if token.kind == "text" else re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.S)
        allowed = {"done": ("true", "false"), "state": STATES}.get(field)
        if allowed and value not in allowed:
            raise _refused(f"{field} is one of {', '.join(allowed)}, not {value[:50]!r}")
        return value


def _refused(said: str) -> GatewayError:
    return invalid("filter", said, "INVALID_FILTER")

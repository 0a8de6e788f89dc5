"""Errors as answers: one shape for every route, which is that of OpenAI with more in it.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "messages.0.role",
               "code": "invalid", "help": "…", "span": {"source": "plan", "line": 3, …}}}

`code` says what happened, for programs; `type` whose fault it is, as OpenAI's clients expect it;
`param` which part of the request is meant. `help`, `notes` and `span` are there where there are
any. No answer ever holds the text of an exception that nobody foresaw.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Span
from parrotc.runtime.engines.protocol import EngineError

Json = Any

RETRY = 1  # seconds after which a refused client may try again
_MOST_NAMED = 8  # faults of one body that are named

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# an engine's codes: whose fault they are, seen from a client that knows no engines
_OF_ENGINES = {
    "invalid": 400,
    "context_length": 400,
    "constraint": 400,
    "capacity": 400,
    "busy": 429,
    "unavailable": 503,
    "cancelled": 503,
    "restart": 503,
}


class Refusal(Exception):
    """A request that is answered with an error. `headers` go with the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        help: str = "",
        notes: Sequence[str] = (),
        span: Span | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.help, self.notes, self.span = param, help, tuple(notes), span
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers.setdefault("Retry-After", str(RETRY))

    def to_json(self) -> Json:
        told = {
            "message": self.message,
            "type": self._type(),
            "param": self.param,
            "code": self.code,
        }
        more = {"help": self.help, "notes": list(self.notes), "span": _place(self.span)}
        return {"error": told | {name: value for name, value in more.items() if value}}

    def _type(self) -> str:
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, fallback)


def of_engine(error: EngineError) -> Refusal:
    """What an engine refused or could not do."""
    status = _OF_ENGINES.get(error.code, 500)
    code = "context_length_exceeded" if error.code == "context_length" else error.code
    return Refusal(status, code, str(error))


def of_diagnostics(found: Iterable[Diagnostic], status: int = 400) -> Refusal:
    """The first finding; the others as notes."""
    first, *others = found
    notes = [*first.notes, *(f"{one.code}: {one.message}" for one in others[:_MOST_NAMED])]
    return Refusal(status, first.code, first.message, help=first.help, notes=notes, span=first.span)


def of_validation(error: ValidationError, known: Iterable[str] = ()) -> Refusal:
    """What is wrong with a body, by the names of its fields. Its values are not repeated."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    words = [_fault(one["type"], one["loc"], one["msg"]) for one in found]
    param = ".".join(map(str, found[0]["loc"])) or None
    help = f"the fields are: {', '.join(known)}" if found[0]["type"] == "extra_forbidden" else ""
    code = "invalid_json" if found[0]["type"] == "json_invalid" else "invalid"
    return Refusal(400, code, words[0], param=param, notes=words[1:_MOST_NAMED], help=help)


def _fault(kind: str, where: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part)[:60] for part in where)
    if kind == "extra_forbidden":
        return f"there is no field `{name}`"
    if kind == "missing":
        return f"`{name}` is missing"
    words = message.removeprefix("Value error, ")
    return f"`{name}`: {words}" if name else words


def _place(span: Span | None) -> Json:
    if span is None:
        return None
    line, column = span.position()
    return {
        "source": span.source.name,
        "line": line,
        "column": column,
        "start": span.start,
        "end": span.end,
    }

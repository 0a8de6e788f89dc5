"""The `openai` package's clients, and what their errors mean: ask again, and when, or give up."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI

from parrotc.runtime.engines.openai.options import Options
from parrotc.runtime.engines.protocol import EngineError

_CONNECT = 10.0  # seconds
_FIRST, _MOST = 0.5, 30.0  # seconds between two tries
_LONGEST = 120.0  # that an endpoint may ask for: beyond it the call fails at once
_AGAIN = {408, 409, 425, 429}  # and everything from 500 on
_SHOWN = 300  # characters of what an endpoint says
_TOO_LONG = re.compile(
    r"context[_ ](length|size|window)|maximum context|too (long|many tokens)", re.IGNORECASE
)


def make_client(options: Options, url: str) -> AsyncOpenAI:
    """A client of one server. What is tried again, and when, is decided here and not in it."""
    timeout = openai.Timeout(options.timeout, connect=min(_CONNECT, options.timeout))
    if options.is_azure:
        return AsyncAzureOpenAI(
            azure_endpoint=url,
            azure_deployment=options.deployment or None,
            api_version=options.api_version,
            api_key=options.api_key,
            timeout=timeout,
            max_retries=0,
        )
    key = options.api_key or "none"  # the package wants one
    return AsyncOpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)


class Broken(Exception):
    """An answer that ended too early, or that is not one."""


@dataclass(frozen=True, slots=True)
class Again:
    """An error that may not happen again. `wait`: how many seconds the endpoint wants."""

    why: str
    wait: float | None = None
    is_down: bool = False  # the server, not the request


def again(error: Exception, secrets: Iterable[str]) -> Again | EngineError:
    """What to make of an error of a request: an `EngineError` where it would happen again.

    That is to be raised when the error itself is handled, so that no traceback shows both: what an
    endpoint says may hold a secret.
    """
    match error:
        case EngineError():
            return error
        case openai.APITimeoutError():
            return Again("it said nothing for too long", is_down=True)
        case openai.APIConnectionError():
            return Again("it cannot be reached", is_down=True)
        case openai.APIStatusError():
            return _status(error, secrets)
        case openai.APIError():  # told in the middle of an answer
            return Again(shown(error.message, secrets))
        case Broken():
            return Again(str(error))
    raise error


def failed(name: str, found: Again | EngineError, times: str = "") -> EngineError:
    """The error of an endpoint that is not asked again."""
    if isinstance(found, EngineError):
        return found
    return EngineError("internal", f"{name}: {found.why}{times}")


def _status(error: openai.APIStatusError, secrets: Iterable[str]) -> Again | EngineError:
    status, said = error.status_code, shown(_message(error), secrets)
    if status in _AGAIN or status >= 500:
        if error.code == "insufficient_quota":
            return EngineError("budget", f"the endpoint says: {said}")
        wait = _wait(error)
        if wait is not None and wait > _LONGEST:
            return EngineError("capacity", f"the endpoint wants to be asked in {wait:,.0f} s")
        return Again(f"it answers {status}: {said}", wait, is_down=status >= 500)
    if status in (400, 413, 422) and (
        error.code == "context_length_exceeded" or _TOO_LONG.search(said)
    ):
        return EngineError("context_length", said)
    code = "refused" if status in (401, 403) else "internal"
    return EngineError(code, f"the endpoint answers {status}: {said}")


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    held = body.get("message") if isinstance(body, dict) else None
    return held if isinstance(held, str) else error.message


def shown(text: str, secrets: Iterable[str]) -> str:
    """What an endpoint said, on one line, without what nobody may read."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _wait(error: openai.APIStatusError) -> float | None:
    """The seconds of `Retry-After`, which are a number or a date."""
    headers = error.response.headers
    precise = _seconds(headers.get("retry-after-ms"), 1000)
    return _seconds(headers.get("retry-after"), 1) if precise is None else precise


def _seconds(header: str | None, unit: int) -> float | None:
    if not header:
        return None
    try:
        return max(0.0, float(header) / unit)
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def pause(again: Again, tries: int, rng: random.Random) -> float:
    """Seconds until the next try: never sooner than the endpoint wants, and not all at once."""
    most = min(_MOST, _FIRST * 2.0**tries)
    jitter = rng.uniform(0.5, 1.0) * most
    return jitter if again.wait is None else again.wait + jitter * 0.1

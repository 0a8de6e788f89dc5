"""What is asked of one eager call: `f.with_(n=8, retry=2)(x)`, as in the body of a flow; and, as
of a run, `f.with_(seed=3, timeout=5)(x)`."""

from collections.abc import Mapping
from typing import Any

from parrotc.check.program import ModelSymbol, Policy
from parrotc.check.report import did_you_mean
from parrotc.eager.callterms import NAMES as TERMS
from parrotc.eager.callterms import PLAIN, CallTerms, said
from parrotc.eager.library import Callee, Library
from parrotc.python.policies import seconds_of
from parrotc.python.words import Model

_SECONDS = {"deadline": "deadline", "ttft": "ttft", "tpot": "tpot", "cache": "cache_ttl"}
_CHOICES = {"criteria": ("latency", "throughput"), "handover": ("text", "tokens")}
_NAMES = ("n", "retry", "model", "on_error", *_CHOICES, *_SECONDS, *TERMS)


def asked(callee: Callee, given: Mapping[str, Any]) -> tuple[Callee, CallTerms]:
    """The semantic function with these policies, and the terms of the call. Raises `TypeError` for
    what is neither."""
    wanted: dict[str, Any] = {}
    terms = PLAIN
    for name, value in given.items():
        if name in _SECONDS:
            wanted[_SECONDS[name]] = _seconds(name, value)
        elif name in _CHOICES:
            _require(value in _CHOICES[name], name, " or ".join(map(repr, _CHOICES[name])))
            wanted[name] = value
        elif name in ("n", "retry"):
            least = 1 if name == "n" else 0
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            _require(is_whole and value >= least, name, f"a whole number from {least} on")
            wanted[name] = value
        elif name == "on_error":
            _require(value is None, name, "None")
            wanted["tolerant"] = True
        elif name == "model":
            wanted[name] = _model(callee.library, value)
        elif name in TERMS:
            terms = said(terms, name, value, "of `with_`")
        else:
            help_ = did_you_mean(name, _NAMES) or f"there are: {', '.join(_NAMES)}"
            raise TypeError(f"`with_` takes no `{name}`; {help_}")
    if not wanted:
        return callee, terms
    count = wanted.pop("n", None)
    return callee.library.asked(callee.name, Policy(**wanted), count), terms


def _require(is_right: bool, name: str, wanted: str) -> None:
    if not is_right:
        raise TypeError(f"`{name}` of `with_` is {wanted}")


def _seconds(name: str, value: Any) -> float:
    seconds = seconds_of(value)
    if seconds is None or seconds <= 0:
        raise TypeError(f'`{name}` of `with_` is a number of seconds, or "300ms", "2s", "5m", "1h"')
    return seconds


def _model(library: Library, value: Any) -> ModelSymbol:
    _require(isinstance(value, Model), "model", "one that the file declares")
    declared = library.program.models if library.program else ()
    for symbol in declared:
        same = (symbol.kind, symbol.target) == (value.kind, value.target)
        if same and {name for name, _ in symbol.options} == set(value.options):
            return symbol
    raise TypeError(f"the file of the function declares no model like {value!r}")

"""Options of a `{{gen}}`: how long, how random, where to stop. All are known when compiling."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from parrotc.check.consts import NotConstant, fold
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN
from parrotc.ir.types import Json, ListOf, Optional, Record, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs

_PLAIN_TOKENS, _STRUCTURED_TOKENS = 512, 1024


def default_sampling(type_: Type) -> dict[str, Json]:
    """Structured answers are longer than people think: they get twice the room."""
    inner = type_.item if isinstance(type_, Optional) else type_
    structured = isinstance(inner, Record | ListOf)
    return {"max_tokens": _STRUCTURED_TOKENS if structured else _PLAIN_TOKENS}


def sampling(exprs: "Exprs", node: tree.Gen, type_: Type) -> dict[str, Json]:
    """The options of a `gen`, by the fields of `ir.ops.Generate`; wrong ones are reported."""
    found = default_sampling(type_)
    seen: set[str] = set()
    for arg in node.args:
        name = arg.name or ""
        if name not in _OPTIONS:
            _unknown(exprs, arg, name)
        elif name in seen:
            exprs.report.add("E0326", f"`{name}` is given twice", arg.span)
        else:
            value = _value(exprs, arg, name)
            if value is not None:
                found[name] = value
        seen.add(name)
    return found


def _unknown(exprs: "Exprs", arg: tree.Arg, name: str) -> None:
    help_ = did_you_mean(name, _OPTIONS)
    if name in ("regex", "choices", "options", "schema", "grammar", "json", "type"):
        help_ = 'the type of the output is the constraint: `-> "yes" | "no"`, `str(regex="…")`'
    elif name in ("n", "model", "retry"):
        help_ = f"ask for it at the call: `f(…) with ({name}=…)`"
    note = "" if help_ else f"there are: {', '.join(_OPTIONS)}"
    exprs.report.add("E0326", f"`gen` has no option `{name}`", arg.span, note=note, help=help_)


def _value(exprs: "Exprs", arg: tree.Arg, name: str) -> Json:
    if exprs.expr(arg.value) == BROKEN:
        return None
    try:
        value = fold(exprs.session, arg.value)
    except NotConstant as error:
        if error.why:
            message = f"`{name}` of `gen` must be known when compiling"
            note = "prompts that differ in it are different semantic functions"
            exprs.report.add("E0326", message, arg.value.span, note=note)
        return None
    wanted, accepts = _OPTIONS[name]
    if not accepts(value):
        exprs.report.add("E0326", f"`{name}` of `gen` must be {wanted}", arg.value.span)
        return None
    if name == "stop" and isinstance(value, str):
        return [value]
    return float(value) if name in _FLOATS else value


def _number(low: float, high: float) -> Callable[[Json], bool]:
    return lambda value: _is_number(value) and low <= value <= high


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(low: int, high: int) -> Callable[[Json], bool]:
    return lambda value: _is_number(value) and isinstance(value, int) and low <= value <= high


def _is_stop(value: Json) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and all(isinstance(t, str) and t for t in texts)


_FLOATS = ("temperature", "top_p", "min_p")

_OPTIONS: dict[str, tuple[str, Callable[[Json], bool]]] = {
    "max_tokens": ("an int from 1 to 1,000,000", _integer(1, 1_000_000)),
    "temperature": ("a number from 0 to 10", _number(0, 10)),
    "top_p": ("a number above 0, at most 1", lambda v: _number(0, 1)(v) and v > 0),
    "top_k": ("an int of at least 0 (0: all)", _integer(0, 1_000_000)),
    "min_p": ("a number from 0 to 1", _number(0, 1)),
    "seed": ("an int from 0 to 2**63 - 1", _integer(0, 2**63 - 1)),
    "stop": ("a text, or a list of texts, none of them empty", _is_stop),
}

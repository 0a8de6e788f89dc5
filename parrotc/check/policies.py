"""Policies: what is asked of calls, by decorators on a declaration or `with (…)` on one call.

@model(large)  @latency(ttft=300ms)  @throughput  @deadline(30s)  @retry(2)  @cache(ttl=1h)
f(x) with (model=large, n=8, criteria=throughput, retry=2, on_error=None, deadline=5s, cache=1h)
f(x) with (handover=tokens)
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from parrotc.check.consts import NotConstant, fold
from parrotc.check.program import ExternSymbol, FlowSymbol, ModelSymbol, PfuncSymbol, Policy, Symbol
from parrotc.check.report import did_you_mean
from parrotc.check.rules import a
from parrotc.check.session import BrokenSymbol
from parrotc.ir.diagnostic import Label
from parrotc.ir.ops import Effect
from parrotc.ir.types import INT
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs

_DURATIONS = {"deadline": "deadline", "ttft": "ttft", "tpot": "tpot", "cache": "cache_ttl"}
_OF_MODEL_CALLS = ("model", "n", "on_error", "retry", "criteria", "handover", *_DURATIONS)
_OF_OTHER_CALLS = ("on_error", "retry")

DECORATORS = ("model", "latency", "throughput", "deadline", "retry", "cache")
EXTERN_DECORATORS = ("pure", "idempotent", "timeout")

_MOST_RETRIES = 100

Found = dict[str, Any]  # fields of Policy


# with (…)


def of_call(exprs: "Exprs", node: tree.With, symbol: Symbol | None) -> Policy:
    """What `with (…)` asks of a call of `symbol`."""
    found: Found = {}
    seen: dict[str, tree.Arg] = {}
    for arg in node.policies:
        name = arg.name or ""  # the parser lets no policy without a name through
        if name in seen:
            _twice(exprs, name, arg, seen[name])
        elif _belongs(exprs, arg, name, symbol):
            _read(exprs, name, arg.value, found)
        seen.setdefault(name, arg)
    return Policy(**found)


def _belongs(exprs: "Exprs", arg: tree.Arg, name: str, symbol: Symbol | None) -> bool:
    """Report a policy that no call has, or not this call."""
    if isinstance(symbol, BrokenSymbol):
        return False
    if name not in _OF_MODEL_CALLS:
        help_ = did_you_mean(name, _OF_MODEL_CALLS)
        if name in ("temperature", "max_tokens", "stop", "top_p", "top_k", "min_p", "seed"):
            help_ = f"sampling belongs to the hole: `{{{{gen {name}=…}}}}`"
        message = f"no call has a policy `{name}`"
        note = f"there are: {', '.join(_OF_MODEL_CALLS)}"
        exprs.report.add("E0350", message, arg.span, note="" if help_ else note, help=help_)
        return False
    callee = symbol.name if symbol else "this"
    message, note = f"a call of `{callee}` has no policy `{name}`", ""
    match symbol:
        case PfuncSymbol():
            return True
        case FlowSymbol() if name in _OF_OTHER_CALLS:
            return True
        case ExternSymbol() if name in _OF_OTHER_CALLS:
            if name != "retry" or symbol.effect is not Effect.EFFECTFUL:
                return True
            message = f"`{callee}` may have effects, so it must not run again"
            note = "a native function that may be retried is `@idempotent` or `@pure`"
        case FlowSymbol():
            note = "put it on the calls inside the flow, or on the flow as a decorator"
        case _:
            note = "policies are for calls of semantic functions, flows and native functions"
    exprs.report.add("E0352", message, arg.span, note=note)
    return False


def _read(exprs: "Exprs", name: str, node: tree.Expr, found: Found) -> None:
    if name in _DURATIONS:
        found[_DURATIONS[name]] = duration(exprs, name, node)
        return
    match name:
        case "model":
            found["model"] = model_of(exprs, node)
        case "n":
            exprs.expect(node, INT, "the number of draws `n`")
            if isinstance(node, tree.Literal) and isinstance(node.value, int) and node.value < 1:
                exprs.report.add("E0351", "`n` must be at least 1", node.span)
            found["count"] = node
        case "retry":
            found["retry"] = _retries(exprs, node)
        case "on_error":
            found["tolerant"] = True
            if not (isinstance(node, tree.Literal) and node.value is None):
                message = "`on_error` can only be `None`"
                note = "the result is then `T?`: test it, and choose a value"
                exprs.report.add("E0351", message, node.span, note=note)
        case "criteria":
            found["criteria"] = _word(exprs, name, node, ("latency", "throughput"))
        case "handover":
            found["handover"] = _word(exprs, name, node, ("text", "tokens"))


def _word(exprs: "Exprs", name: str, node: tree.Expr, words: tuple[str, str]) -> str | None:
    """One of two words, plain or in quotes."""
    word = node.id if isinstance(node, tree.Name) else ""
    if isinstance(node, tree.Literal) and isinstance(node.value, str):
        word = node.value
    if word in words:
        return word
    message = f"`{name}` is `{words[0]}` or `{words[1]}`"
    exprs.report.add("E0351", message, node.span, help=did_you_mean(word, words))
    return None


def _retries(exprs: "Exprs", node: tree.Expr) -> int | None:
    exprs.expect(node, INT, "the number of retries")
    try:
        value = fold(exprs.session, node)
    except NotConstant as error:
        if error.why:
            message = "the number of retries must be known when compiling"
            exprs.report.add("E0351", message, node.span)
        return None
    if not (isinstance(value, int) and 0 <= value <= _MOST_RETRIES):
        message = f"the number of retries is between 0 and {_MOST_RETRIES}"
        exprs.report.add("E0351", message, node.span)
        return None
    return value


def duration(exprs: "Exprs", name: str, node: tree.Expr) -> float | None:
    if isinstance(node, tree.Duration) and node.seconds > 0:
        return node.seconds
    given = "nothing" if isinstance(node, tree.Duration) else a(exprs.expr(node))
    message = f"`{name}` is a duration, not {given}"
    exprs.report.add("E0351", message, node.span, help="write `300ms`, `2s`, `5m` or `1h`")
    return None


def model_of(exprs: "Exprs", node: tree.Expr) -> ModelSymbol | None:
    """The declared model that an expression names; anything else is reported."""
    symbol = exprs.meaning(node)
    if isinstance(symbol, ModelSymbol | None) and symbol is not None:
        return symbol
    if not isinstance(symbol, BrokenSymbol):
        message = f"`{node.span.text()}` is no model"
        note = "models are declared by `model name = …`, so that a plan knows each of them"
        exprs.report.add("E0351", message, node.span, note=note)
    return None


def _twice(exprs: "Exprs", name: str, node: tree.Node, first: tree.Node) -> None:
    labels = [Label(first.span, "first here")]
    exprs.report.add("E0351", f"`{name}` is given twice", node.span, labels=labels)


# decorators


def of_declaration(exprs: "Exprs", decl: tree.Decl) -> Policy:
    """What the decorators of a `pfunc` or `flow` ask."""
    found: Found = {}
    for decorator in known_decorators(exprs, decl, DECORATORS):
        _decorator(exprs, decorator, found)
    return Policy(**found)


def known_decorators(
    exprs: "Exprs", decl: tree.Decl, allowed: Iterable[str]
) -> list[tree.Decorator]:
    """The decorators that may stand here, each once; others are reported."""
    kept: dict[str, tree.Decorator] = {}
    for decorator in decl.decorators:
        if decorator.name in kept:
            _twice(exprs, decorator.name, decorator, kept[decorator.name])
        elif decorator.name in allowed:
            kept[decorator.name] = decorator
        else:
            _unknown_decorator(exprs, decorator, decl, tuple(allowed))
    return list(kept.values())


def _unknown_decorator(
    exprs: "Exprs", node: tree.Decorator, decl: tree.Decl, allowed: tuple[str, ...]
) -> None:
    kind = _KINDS[type(decl)]
    if node.name in DECORATORS or node.name in EXTERN_DECORATORS:
        where = "an `extern`" if node.name in EXTERN_DECORATORS else "a `pfunc` or a `flow`"
        message = f"`@{node.name}` belongs on {where}, not on {kind}"
        exprs.report.add("E0352", message, node.span)
        return
    near = did_you_mean(node.name, allowed).replace("`", "`@", 1)
    note = "there are: " + ", ".join(f"@{name}" for name in allowed) if allowed else ""
    message = f"no decorator is called `@{node.name}`"
    exprs.report.add("E0350", message, node.span, note="" if near else note, help=near)


_KINDS: dict[type[tree.Decl], str] = {
    tree.PfuncDecl: "a `pfunc`", tree.FlowDecl: "a `flow`", tree.ExternDecl: "an `extern`",
    tree.EnumDecl: "an `enum`", tree.ClassDecl: "a `class`", tree.TestDecl: "a `test`",
}  # fmt: skip


def _decorator(exprs: "Exprs", node: tree.Decorator, found: Found) -> None:
    match node.name:
        case "latency" | "throughput":
            if "criteria" in found:
                message = "a result is wanted for latency or for throughput, not for both"
                exprs.report.add("E0351", message, node.span)
            found["criteria"] = node.name
            limits = ("ttft", "tpot") if node.name == "latency" else ()
            for name, value in named_arguments(exprs, node, limits).items():
                found[name] = duration(exprs, name, value)
        case "cache":
            given = named_arguments(exprs, node, ("ttl",), needed=True)
            found["cache_ttl"] = duration(exprs, "ttl", given["ttl"]) if given else None
        case "model" | "deadline" | "retry":
            single = single_argument(exprs, node)
            if single is not None:
                _read(exprs, node.name, single, found)


def single_argument(exprs: "Exprs", node: tree.Decorator) -> tree.Expr | None:
    if len(node.args) == 1 and node.args[0].name is None:
        return node.args[0].value
    example = {"model": "large", "deadline": "30s", "timeout": "2s"}.get(node.name, "2")
    message = f"`@{node.name}` takes one value"
    exprs.report.add("E0351", message, node.span, help=f"`@{node.name}({example})`")
    return None


def named_arguments(
    exprs: "Exprs", node: tree.Decorator, allowed: tuple[str, ...], needed: bool = False
) -> dict[str, tree.Expr]:
    given: dict[str, tree.Expr] = {}
    for arg in node.args:
        if arg.name in allowed and arg.name is not None:
            given[arg.name] = arg.value
            continue
        takes = " and ".join(f"`{name}=`" for name in allowed) if allowed else "no arguments"
        help_ = did_you_mean(arg.name or "", allowed)
        message = f"`@{node.name}` takes {takes}"
        exprs.report.add("E0351", message, arg.span, help=help_)
        return {}
    if needed and not given:
        message = f"`@{node.name}` needs `{allowed[0]}=`"
        exprs.report.add("E0351", message, node.span)
    return given

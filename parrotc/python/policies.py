"""What is asked of calls: the keywords of `@pfunc`, `@flow`, `@native` and of `f.with_(…)`.

    @flow(criteria="latency", ttft="300ms", model=local)     @latency(ttft=300ms) @model(local)
    f.with_(n=8, deadline=5)(x)                              f(x) with (n=8, deadline=5s)

A duration is a number of seconds or a text with a unit.
"""

import ast
import re

from parrotc.check.report import did_you_mean
from parrotc.ir.source import Span
from parrotc.python.exprs import Exprs
from parrotc.syntax import tree
from parrotc.syntax.numbers import SECONDS

_DURATIONS = ("deadline", "ttft", "tpot", "cache", "timeout")
_OF_RESULTS = ("criteria", "ttft", "tpot", "model", "deadline", "retry", "cache")
_OF_NATIVES = ("pure", "idempotent", "timeout")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def read_policies(exprs: Exprs, keywords: list[ast.keyword]) -> tuple[tree.Arg, ...]:
    """The policies of one call. Which there are, and their values, is for the checker."""
    return tuple(
        tree.Arg(
            span=exprs.places.span(keyword),
            name=keyword.arg,
            value=_value(exprs, keyword.arg or "", keyword.value),
        )
        for keyword in keywords
    )


def decorators(exprs: Exprs, keywords: list[ast.keyword]) -> tuple[tree.Decorator, ...]:
    """The decorators that the keywords of `@pfunc` or `@flow` stand for."""
    given = {_known(exprs, keyword, _OF_RESULTS): keyword for keyword in keywords}
    found = []
    limits = tuple(
        tree.Arg(span=exprs.places.span(given[name]), name=name, value=_of(exprs, given[name]))
        for name in ("ttft", "tpot")
        if name in given
    )
    if "criteria" in given:
        found.append(_criteria(exprs, given["criteria"], limits))
    elif limits:
        found.append(tree.Decorator(span=limits[0].span, name="latency", args=limits))
    for name in ("model", "deadline", "retry", "cache"):
        if name in given:
            span, value = exprs.places.span(given[name]), _of(exprs, given[name])
            arg = tree.Arg(span=span, name="ttl" if name == "cache" else None, value=value)
            found.append(tree.Decorator(span=span, name=name, args=(arg,)))
    return tuple(sorted(found, key=lambda decorator: decorator.span.start))


def native_decorators(exprs: Exprs, keywords: list[ast.keyword]) -> tuple[tree.Decorator, ...]:
    """The decorators that the keywords of `@native` stand for."""
    found = []
    for keyword in keywords:
        name, span = _known(exprs, keyword, _OF_NATIVES), exprs.places.span(keyword)
        if name == "timeout":
            arg = tree.Arg(span=span, name=None, value=_of(exprs, keyword))
            found.append(tree.Decorator(span=span, name=name, args=(arg,)))
            continue
        match keyword.value:
            case ast.Constant(value=True):
                found.append(tree.Decorator(span=span, name=name, args=()))
            case ast.Constant(value=False):
                pass
            case _:
                message = f"`{name}` is `True` or `False`, and must be seen when compiling"
                raise exprs.places.problem(keyword.value, "E0129", message)
    return tuple(found)


def _known(exprs: Exprs, keyword: ast.keyword, allowed: tuple[str, ...]) -> str:
    if keyword.arg in allowed:
        return keyword.arg
    help_ = did_you_mean(keyword.arg or "", allowed)
    raise exprs.places.problem(
        keyword,
        "E0129",
        f"the decorator takes no `{keyword.arg}`" if keyword.arg else "the decorator takes no `**`",
        note="" if help_ else f"there are: {', '.join(allowed)}",
        help=help_,
    )


def _criteria(exprs: Exprs, keyword: ast.keyword, limits: tuple[tree.Arg, ...]) -> tree.Decorator:
    match keyword.value:
        case ast.Constant(value="latency" | "throughput" as name):
            span = exprs.places.span(keyword)
            return tree.Decorator(span=span, name=name, args=limits)
    raise exprs.places.problem(
        keyword.value, "E0129", '`criteria` is `"latency"` or `"throughput"`'
    )


def _of(exprs: Exprs, keyword: ast.keyword) -> tree.Expr:
    return _value(exprs, keyword.arg or "", keyword.value)


def _value(exprs: Exprs, name: str, node: ast.expr) -> tree.Expr:
    return (duration(exprs.places.span(node), node) if name in _DURATIONS else None) or exprs.expr(
        node
    )


def duration(span: Span, node: ast.expr) -> tree.Duration | None:
    """The duration that a literal says; None if it is none."""
    seconds = seconds_of(node.value) if isinstance(node, ast.Constant) else None
    return None if seconds is None else tree.Duration(span=span, seconds=seconds)


def seconds_of(value: object) -> float | None:
    """A number of seconds, or a text with a unit, in seconds; None for anything else."""
    match value:
        case bool():
            return None
        case int() | float():
            return float(value)
        case str() if found := _DURATION.fullmatch(value):
            return float(found.group(1)) * SECONDS[found.group(2)]
    return None

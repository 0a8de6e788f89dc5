"""Calls: which function a call means, whether its arguments fit, what comes back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parrotc.check import embed, generics, plans, policies, rules
from parrotc.check.arguments import Given, arguments, plain_name
from parrotc.check.builtins import FILTERS, FUNCTIONS, METHODS, Builtin, Unfit
from parrotc.check.naming import Place
from parrotc.check.program import (
    BuiltinSymbol,
    ConstSymbol,
    ExternSymbol,
    FlowSymbol,
    LocalSymbol,
    ModelSymbol,
    PfuncSymbol,
    Symbol,
)
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN, a, assignable, is_text
from parrotc.check.scope import Unusable
from parrotc.check.session import BrokenSymbol, builtin
from parrotc.ir.types import STR, ListOf, Optional, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs


def call(exprs: "Exprs", node: tree.CallExpr | tree.With) -> Type:
    """The type of a call, with what its policies make of it."""
    if isinstance(node, tree.CallExpr):
        return _call(exprs, node)[0]
    assert isinstance(node.call, tree.CallExpr)  # the parser says so
    type_, symbol = _call(exprs, node.call)
    exprs.session.types[node.call] = type_
    policy = policies.of_call(exprs, node, symbol)
    exprs.session.policies[node] = policy
    if policy.count is not None:
        type_ = ListOf(type_)
    return Optional(type_) if policy.tolerant and not isinstance(type_, Optional) else type_


def _call(exprs: "Exprs", node: tree.CallExpr) -> tuple[Type, Symbol | None]:
    """The type of a call without policies, and what is called."""
    function = node.function
    symbol = exprs.meaning(function)
    match symbol:
        case PfuncSymbol() | FlowSymbol():
            return _semantic(exprs, node, symbol), symbol
        case ExternSymbol():
            return _native(exprs, function, symbol, node.args, node), symbol
        case BuiltinSymbol():
            return _builtin(exprs, node, symbol), symbol
        case None if isinstance(function, tree.Attribute):
            return _method(exprs, node, function), builtin(function.attr)
    _each(exprs, node.args)
    if isinstance(symbol, Unusable | LocalSymbol | ConstSymbol | None):
        type_ = exprs.expr(function)
        if type_ != BROKEN:
            _not_callable(exprs, function, a(type_))
    elif not isinstance(symbol, BrokenSymbol):
        kind = "a model" if isinstance(symbol, ModelSymbol) else "a type"
        _not_callable(exprs, function, kind)
    return BROKEN, BrokenSymbol(name="", span=None)


def _not_callable(exprs: "Exprs", function: tree.Expr, kind: str) -> None:
    message = f"`{function.span.text()}` is {kind}, and cannot be called"
    help_ = "write a value of it: `{name: …}`" if kind == "a type" else ""
    exprs.report.add("E0314", message, function.span, help=help_)


def _each(exprs: "Exprs", args: Sequence[tree.Arg]) -> list[Type]:
    return [exprs.expr(arg.value) for arg in args]


# functions of the program


def _semantic(exprs: "Exprs", node: tree.CallExpr, symbol: PfuncSymbol | FlowSymbol) -> Type:
    if exprs.place in (Place.PROMPT, Place.CONST):
        exprs.report.add(
            "E0319",
            f"{exprs.place} cannot call `{symbol.name}`",
            node.span,
            note="semantic functions and flows are called by flows",
            help="call it in a flow, and pass the result as a parameter",
        )
    elif isinstance(symbol, FlowSymbol):
        exprs.calls.append((symbol, node.function.span))
    arguments(exprs, symbol, node.args, node)
    return symbol.result


def _native(
    exprs: "Exprs",
    name: tree.Expr | tree.Filter,
    symbol: ExternSymbol,
    args: Sequence[tree.Arg],
    node: tree.Node,
    piped: Type | None = None,
) -> Type:
    given = arguments(exprs, symbol, args, node, piped)
    if symbol.type_params:
        bindings: generics.Bindings = {}
        for param in symbol.params:
            if param.name in given:
                generics.infer(param.type, given[param.name][0], bindings)
        symbol = generics.instance(exprs.session, symbol, bindings)
        _fit_instance(exprs, symbol, given)
    exprs.session.names[name] = symbol
    return symbol.result


def _fit_instance(exprs: "Exprs", symbol: ExternSymbol, given: Given) -> None:
    """Report arguments that do not fit once the types of the others are known."""
    for param in symbol.params:
        if param.name not in given:
            continue
        type_, place = given[param.name]
        if not assignable(type_, param.type):
            message = (
                f"`{param.name}` of `{plain_name(symbol)}` must be {a(param.type)}, not {a(type_)}"
            )
            exprs.report.add("E0310", message, place.span, f"this is {a(type_)}")


# what is built in


def _builtin(exprs: "Exprs", node: tree.CallExpr, symbol: BuiltinSymbol) -> Type:
    match symbol.name:
        case "embed":
            return embed.embed(exprs, node)
        case "env":
            return embed.misplaced_env(exprs, node)
        case "plan":
            return plans.plan(exprs, node)
    types = _each(exprs, node.args)
    return _apply(exprs, symbol.name, FUNCTIONS[symbol.name], node, node.args, types)


def _method(exprs: "Exprs", node: tree.CallExpr, function: tree.Attribute) -> Type:
    held = exprs.expr(function.value)
    if held == plans.PLAN and function.attr == "prefix":
        return plans.prefix(exprs, node)
    types = _each(exprs, node.args)
    if held == BROKEN:
        return BROKEN
    if is_text(held) and function.attr in METHODS:
        method = METHODS[function.attr]
        return _apply(exprs, function.attr, method, node, node.args, [held, *types])
    known = list(METHODS) if is_text(held) else []
    if function.attr in rules.attributes(held):
        _not_callable(exprs, function, "a field")
        return BROKEN
    message = f"{a(held)} has no method `{function.attr}`"
    help_ = did_you_mean(function.attr, known)
    if not help_ and function.attr in FUNCTIONS:
        help_ = f"`{function.attr}({function.value.span.text()})`"
    exprs.report.add("E0313", message, function.attr_span, help=help_)
    return BROKEN


def filtered(exprs: "Exprs", node: tree.Filter, value: tree.Expr, type_: Type) -> Type:
    """The type after `value | filter`: a built-in filter, or a native function of one argument."""
    symbol = exprs.session.lookup(exprs.file, node.name)
    if isinstance(symbol, ExternSymbol):
        result = _native(exprs, node, symbol, node.args, node, piped=type_)
    elif symbol is None and node.name in FILTERS:
        exprs.session.names[node] = builtin(node.name)
        result = _filter(exprs, node, type_)
    else:
        _each(exprs, node.args)
        result = BROKEN
        if symbol is None:
            known = set(FILTERS) | exprs.file.names()
            exprs.session.unknown("filter", node.name, node.span, known)
        elif not isinstance(symbol, BrokenSymbol):
            message = f"`{node.name}` is no filter"
            note = "a filter is built in, or an `extern`"
            exprs.report.add("E0314", message, node.span, note=note)
    exprs.session.types[node] = result
    return result


def _filter(exprs: "Exprs", node: tree.Filter, type_: Type) -> Type:
    filter_ = FILTERS[node.name]
    args = []
    for arg in node.args:
        if arg.name == "model" and node.name == "truncate":
            policies.model_of(exprs, arg.value)
        elif arg.name is not None and arg.name not in filter_.names:
            message = f"the filter `{node.name}` takes no `{arg.name}`"
            help_ = did_you_mean(arg.name, filter_.names)
            exprs.report.add("E0311", message, arg.span, help=help_)
            return BROKEN
        else:
            args.append(arg)
    types = [type_, *_each(exprs, args)]
    return STR if type_ == BROKEN else _apply(exprs, node.name, filter_, node, args, types)


def _apply(
    exprs: "Exprs",
    name: str,
    builtin_: Builtin,
    node: tree.Node,
    args: Sequence[tree.Arg],
    types: Sequence[Type],
) -> Type:
    """The result of a built-in for arguments of `types`, of which the last are `args`."""
    piped = len(types) - len(args)
    if isinstance(node, tree.CallExpr):
        named = next((arg for arg in args if arg.name is not None), None)
        if named is not None:
            message = f"`{name}` takes its arguments by place, not by name"
            exprs.report.add("E0311", message, named.span)
            return BROKEN
    if not builtin_.least <= len(types) <= builtin_.most:
        least, most = builtin_.least - piped, builtin_.most - piped
        message = f"`{name}` takes {_count(least, most)}, and gets {len(args)}"
        exprs.report.add("E0311", message, node.span)
        return BROKEN
    try:
        return BROKEN if BROKEN in types else builtin_.rule(types)
    except Unfit as unfit:
        at = node if unfit.index < piped else args[unfit.index - piped].value
        given = a(types[unfit.index])
        message = f"`{name}` needs {unfit.wanted}, not {given}"
        exprs.report.add("E0310", message, at.span, f"this is {given}")
        return BROKEN


def _count(least: int, most: int) -> str:
    if least == most:
        return "no arguments" if most == 0 else f"{most} argument{'s' if most > 1 else ''}"
    return f"{least} to {most} arguments" if most < 100 else f"at least {least} arguments"

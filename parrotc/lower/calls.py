"""Calls of semantic functions, flows, natives, built-in functions and methods, with their policies.

What is asked of a call by `with (…)` goes before what its function is decorated with, and that
before what the flow is. A failure that is to be retried or borne is an `Attempt` around the call.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from parrotc.check import program as checked
from parrotc.ir.ops import Attempt, Call, Native, Value
from parrotc.ir.source import Span
from parrotc.ir.types import STR, Optional, Type, fits
from parrotc.lower.region import Region
from parrotc.syntax import tree


class Lower(Protocol):
    """`Exprs.lower`."""

    def __call__(self, node: tree.Expr, region: Region, hint: str = ..., /) -> Value: ...


Make = Callable[[Type, Region, str], Value]
# in a test, what answers the calls of something that is mocked: from its arguments, and how many
# answers are wanted, if several are
StandIn = Callable[[Sequence[Value], Value | None, Type, Region, Span | None, str], Value]
NOTHING_MOCKED: Mapping[str, StandIn] = MappingProxyType({})
Inline = Callable[[checked.FlowSymbol, Sequence[Value], Region, str, tree.Node], Value]


class Sites:
    """Numbers the places of a flow where something is called. `flow.0`, `flow.1`, …"""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return f"{self._prefix}.{self._count - 1}"


class Calls:
    """Lowers the calls of one flow or semantic function into the region it is given."""

    def __init__(
        self,
        program: checked.Program,
        lower: Lower,
        sites: Sites | None,
        policy: checked.Policy,
        inline: Inline | None,
        stand_ins: Mapping[str, StandIn] = NOTHING_MOCKED,
    ) -> None:
        self._program = program
        self._lower = lower
        self._sites = sites
        self._policy = policy
        self._inline = inline
        self._stand_ins = stand_ins

    def lower(
        self,
        node: tree.Expr,
        call: tree.Expr,
        policy: checked.Policy,
        region: Region,
        hint: str,
    ) -> Value:
        """A call of anything, with what is asked of it; failures asked to be borne are borne."""
        assert isinstance(call, tree.CallExpr)
        symbol = self._program.names.get(call.function)

        def make(type_: Type, region: Region, hint: str) -> Value:
            return self._plain(node, call, symbol, policy, type_, region, hint)

        return self._borne(make, symbol, policy, self._program.types[node], node.span, region, hint)

    def known(
        self,
        symbol: checked.PfuncSymbol,
        args: Sequence[Value],
        count: Value | None,
        policy: checked.Policy,
        type_: Type,
        region: Region,
        span: Span | None,
    ) -> Value:
        """A call of a semantic function with values that are there already."""

        def make(type_: Type, region: Region, hint: str) -> Value:
            return self._made(symbol, args, count, policy, type_, region, span, hint)

        return self._borne(make, symbol, policy, type_, span, region, "result")

    def _borne(
        self,
        make: Make,
        symbol: checked.Symbol | None,
        policy: checked.Policy,
        type_: Type,
        span: Span | None,
        region: Region,
        hint: str,
    ) -> Value:
        """What `make` gives, tried again and tolerated as the policies say."""
        retries = policy.retry
        if retries is None and isinstance(symbol, checked.PfuncSymbol):
            retries = symbol.policy.retry or self._policy.retry
        if not retries and not policy.tolerant:
            return make(type_, region, hint)
        inner = region.inner()
        held = type_.item if policy.tolerant and isinstance(type_, Optional) else type_
        value = make(held, inner, "v")
        result = region.names.fresh(hint, type_)
        op = Attempt(
            results=(result,),
            body=inner.block((), [value]),
            retries=retries or 0,
            tolerant=policy.tolerant,
            span=span,
        )
        region.ops.append(op)
        return result

    def _plain(
        self,
        node: tree.Expr,
        call: tree.CallExpr,
        symbol: checked.Symbol | None,
        policy: checked.Policy,
        type_: Type,
        region: Region,
        hint: str,
    ) -> Value:
        match symbol:
            case checked.PfuncSymbol():
                args = self.arguments(symbol.params, call.args, region, node.span)
                wanted = policy.count
                count = None if wanted is None else self._lower(wanted, region, "n")
                return self._made(symbol, args, count, policy, type_, region, node.span, hint)
            case checked.ExternSymbol():
                args = self.arguments(symbol.params, call.args, region, node.span)
                return self.native(symbol, args, type_, region, node.span, hint)
            case checked.FlowSymbol():
                args = self.arguments(symbol.params, call.args, region, node.span)
                if symbol.name in self._stand_ins:
                    stand_in = self._stand_ins[symbol.name]
                    return stand_in(args, None, type_, region, node.span, hint)
                assert self._inline is not None and self._sites is not None
                return self._inline(symbol, args, region, self._sites.next(), node)
            case checked.BuiltinSymbol():
                values = [self._lower(arg.value, region) for arg in call.args]
                return region.apply(symbol.name, values, type_, node.span, hint)
        assert isinstance(call.function, tree.Attribute)  # a method of a value
        args = [self._lower(call.function.value, region)]
        args += [self._lower(arg.value, region) for arg in call.args]
        return region.apply(call.function.attr, args, type_, node.span, hint)

    def _made(
        self,
        symbol: checked.PfuncSymbol,
        args: Sequence[Value],
        count: Value | None,
        policy: checked.Policy,
        type_: Type,
        region: Region,
        span: Span | None,
        hint: str,
    ) -> Value:
        if symbol.name in self._stand_ins:
            return self._stand_ins[symbol.name](args, count, type_, region, span, hint)
        model = policy.model or symbol.policy.model or self._policy.model
        assert self._sites is not None
        result = region.names.fresh(hint, type_)
        op = Call(
            results=(result,),
            function=symbol.name,
            args=tuple(args),
            model=model.name if model else "default",
            site=self._sites.next(),
            count=count,
            handed=_texts(args) if policy.handover == "tokens" else (),
            span=span,
        )
        wanted = {
            name: getattr(policy, name) or getattr(symbol.policy, name)
            for name in ("criteria", "ttft", "tpot", "deadline", "cache_ttl")
        }
        region.ops.append(op.with_notes(**wanted))
        return result

    def native(
        self,
        symbol: checked.ExternSymbol,
        args: list[Value],
        type_: Type,
        region: Region,
        span: Span,
        hint: str,
    ) -> Value:
        result = region.names.fresh(hint, type_)
        op = Native(
            results=(result,), native=symbol.name, args=tuple(args), effect=symbol.effect, span=span
        )
        region.ops.append(op)
        return result

    def arguments(
        self,
        params: tuple[checked.ParamInfo, ...],
        given: tuple[tree.Arg, ...],
        region: Region,
        span: Span,
        first: Value | None = None,
    ) -> list[Value]:
        """One value per parameter, evaluated in the order they are written; then the defaults."""
        values: dict[str, Value] = {} if first is None else {params[0].name: first}
        for arg in given:
            name = arg.name or params[len(values)].name
            values[name] = self._lower(arg.value, region)
        for param in params:
            if param.name not in values:
                values[param.name] = region.const(param.default, param.type, span)
        return [values[param.name] for param in params]


def _texts(args: Sequence[Value]) -> tuple[int, ...]:
    """The numbers of the arguments that are texts."""
    return tuple(number for number, arg in enumerate(args) if fits(arg.type, STR))

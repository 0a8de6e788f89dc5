"""A semantic or native function as a flow of one call, for whoever calls it by itself.

pfunc digest(part: str) -> str    ==>    flow @digest(%part) { %result = call @digest(%part) }
"""

from parrotc.check import program as checked
from parrotc.ir.names import Names
from parrotc.ir.ops import Flow, Native, Param, Value
from parrotc.ir.types import INT, ListOf, Optional
from parrotc.lower.calls import Calls, Sites
from parrotc.lower.exprs import Exprs
from parrotc.lower.region import Region

_NOTHING_ASKED = checked.Policy()


def lower_alone(
    program: checked.Program,
    symbol: checked.PfuncSymbol,
    policy: checked.Policy = _NOTHING_ASKED,
    count: int | None = None,
) -> Flow:
    """The flow that has the function's name and parameters; `count` is the policy `n`."""
    region = Region(Names())
    params = _params(symbol, region)
    type_ = symbol.result if count is None else ListOf(symbol.result)
    draws = None if count is None else region.const(count, INT, symbol.span, "n")
    calls = Calls(program, Exprs(program).lower, Sites(symbol.name), _NOTHING_ASKED, None, {})
    result = calls.known(
        symbol,
        [param.value for param in params],
        draws,
        policy,
        Optional(type_) if policy.tolerant else type_,
        region,
        symbol.span,
    )
    return _flow(symbol, params, region, result)


def lower_native(symbol: checked.ExternSymbol) -> Flow:
    """The same of a native function."""
    region = Region(Names())
    params = _params(symbol, region)
    result = region.names.fresh("result", symbol.result)
    op = Native(
        results=(result,),
        native=symbol.name,
        args=tuple(param.value for param in params),
        effect=symbol.effect,
        span=symbol.span,
    )
    region.ops.append(op)
    return _flow(symbol, params, region, result)


def _params(
    symbol: checked.PfuncSymbol | checked.ExternSymbol, region: Region
) -> tuple[Param, ...]:
    return tuple(
        Param(region.names.fresh(info.name, info.type), info.default, info.has_default)
        for info in symbol.params
    )


def _flow(symbol: checked.Symbol, params: tuple[Param, ...], region: Region, result: Value) -> Flow:
    body = region.block([param.value for param in params], [result])
    return Flow(symbol.name, params, body, span=symbol.span)

"""Arguments of a call: which parameter each is for, and whether it fits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parrotc.check import generics
from parrotc.check.program import ExternSymbol, FlowSymbol, ParamInfo, PfuncSymbol, Symbol
from parrotc.check.report import did_you_mean
from parrotc.ir.diagnostic import Label
from parrotc.ir.types import Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs

Callee = PfuncSymbol | FlowSymbol | ExternSymbol
Given = dict[str, tuple[Type, tree.Node]]  # by parameter: the type and place of its argument


def arguments(
    exprs: "Exprs",
    symbol: Callee,
    args: Sequence[tree.Arg],
    node: tree.Node,
    piped: Type | None = None,
) -> Given:
    """Match arguments to parameters and report those that do not fit.

    `piped` is the type of the value before a filter: it is the first argument. A parameter that
    mentions a type variable takes anything here; what it must be is known only after all are seen.
    """
    given: Given = {}
    if piped is not None and symbol.params:
        given[symbol.params[0].name] = (piped, node)
    matched = _Matching(exprs, symbol, [param.name for param in symbol.params[: len(given)]])
    for arg in args:
        param = matched.parameter(arg)
        if param is None or generics.variables(param.type):
            exprs.expr(arg.value)
        else:
            labels = [Label(param.span, "declared here")] if param.span else []
            exprs.expect(arg.value, param.type, f"`{param.name}` of `{plain_name(symbol)}`", labels)
        if param is not None:
            given[param.name] = (exprs.session.types[arg.value], arg.value)
    matched.finish(node, args)
    return given


def plain_name(symbol: Symbol) -> str:
    """The name as it is written at a call: without its module and the types of an instance."""
    if isinstance(symbol, ExternSymbol) and symbol.type_args:
        return symbol.name.split(".")[-2]
    return symbol.name.rsplit(".", 1)[-1]


class _Matching:
    """Which parameter each argument is for. Reports at most one mistake of this kind a call."""

    def __init__(self, exprs: "Exprs", symbol: Callee, taken: list[str]) -> None:
        self._report = exprs.report
        self._symbol = symbol
        self._name = plain_name(symbol)
        self._params = {param.name: param for param in symbol.params}
        self._taken = taken
        self._place = len(taken)
        self._failed = False

    def parameter(self, arg: tree.Arg) -> ParamInfo | None:
        if arg.name is None:
            self._place += 1
            if self._place > len(self._params):
                return None  # counted in `finish`
            name = list(self._params)[self._place - 1]
        else:
            name = arg.name
        if name not in self._params:
            help_ = did_you_mean(name, self._params)
            self._mistake(f"`{self._name}` has no parameter `{name}`", arg, help_)
            return None
        if name in self._taken:
            self._mistake(f"`{self._name}` gets `{name}` twice", arg)
            return None
        self._taken.append(name)
        return self._params[name]

    def finish(self, node: tree.Node, args: Sequence[tree.Arg]) -> None:
        """Report arguments that are too many or too few."""
        most = len(self._params)
        if self._place > most:
            extra = [arg for arg in args if arg.name is None][most - self._place]
            takes = f"{most} argument{'' if most == 1 else 's'}" if most else "no arguments"
            self._mistake(f"`{self._name}` takes {takes}, and gets {self._place}", extra)
        missing = [
            f"`{name}`"
            for name, param in self._params.items()
            if name not in self._taken and not param.has_default
        ]
        if missing:
            self._mistake(f"`{self._name}` needs {' and '.join(missing)}", node)

    def _mistake(self, message: str, node: tree.Node, help_: str = "") -> None:
        if self._failed:
            return
        self._failed = True
        span = self._symbol.span
        labels = [Label(span, "declared here")] if span else []
        self._report.add("E0311", message, node.span, labels=labels, help=help_)

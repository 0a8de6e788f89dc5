"""Text that the program did not write in a system message (W0701).

flow ask(page: str) -> str:            `page` comes from outside,
    return helper(page)                helper passes it on, and `answer` shows it in `system "…"`

Followed are assignments, loops, comprehensions and calls, through any number of flows. A flow that
others call is judged by what they pass; one that nobody calls gets its inputs from outside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parrotc.check.program import ExternSymbol, FlowSymbol, LocalSymbol, PfuncSymbol, Symbol
from parrotc.check.session import Session
from parrotc.ir.diagnostic import Label
from parrotc.ir.ops import Effect
from parrotc.ir.source import Span
from parrotc.ir.types import Bool, Choice, Enum, Float, Int, Scored
from parrotc.syntax import tree

_OUTSIDE = ""  # where natives and models get texts; other origins are names of parameters

Callee = PfuncSymbol | FlowSymbol


@dataclass(frozen=True, slots=True)
class _Way:
    """How a text gets into a system message: where it is passed on, last where it is shown."""

    function: PfuncSymbol  # whose message it is
    places: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Passed:
    """An argument that ends in a system message, and the way there."""

    value: tree.Expr
    way: _Way


Sinks = dict[str, _Way]  # by parameter


def trust(session: Session, flows: Sequence[FlowSymbol]) -> None:
    """Warn where flows pass text from outside into a system message."""
    finder = _Finder(session)
    called = {callee for flow in flows for _, callee in finder.calls(flow.decl)}
    for flow in flows:
        for passed in finder.passed(flow):
            origins = finder.origins(flow.decl, passed.value)
            if _OUTSIDE in origins or (origins and flow not in called):
                _warn(session, passed)


def _warn(session: Session, passed: _Passed) -> None:
    *between, shown = passed.way.places
    labels = [Label(span, "passed on here") for span in between] + [Label(shown, "shown here")]
    session.report.add(
        "W0701",
        f"text from outside becomes part of a system message of `{passed.way.function.decl.name}`",
        passed.value.span,
        labels=labels,
        note="a model trusts its system message: who writes into it gives it orders",
        help="show it in the `user` message",
    )


class _Finder:
    """What is asked again and again about declarations, each answer found once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sinks: dict[Callee, Sinks] = {}
        self._bound: dict[tree.Decl, dict[str, list[tree.Expr]]] = {}
        self._results: dict[FlowSymbol, bool] = {}

    def calls(self, decl: tree.Decl) -> Iterator[tuple[tree.CallExpr, Callee]]:
        for node in tree.walk(decl):
            if isinstance(node, tree.CallExpr):
                symbol = self._session.names.get(node.function)
                if isinstance(symbol, PfuncSymbol | FlowSymbol):
                    yield node, symbol

    def passed(self, flow: FlowSymbol) -> Iterator[_Passed]:
        for call, callee in self.calls(flow.decl):
            sinks = self.sinks(callee)
            names = [param.name for param in callee.params]
            for index, arg in enumerate(call.args):
                name = arg.name or (names[index] if index < len(names) else "")
                if name in sinks and not _is_harmless(self._session, arg.value):
                    yield _Passed(arg.value, sinks[name])

    def sinks(self, symbol: Callee) -> Sinks:
        """The parameters of a function or flow that a system message shows."""
        if symbol not in self._sinks:
            self._sinks[symbol] = {}  # for a flow that calls itself, which is another error
            found = self._shown(symbol) if isinstance(symbol, PfuncSymbol) else self._on(symbol)
            self._sinks[symbol] = found
        return self._sinks[symbol]

    def _shown(self, symbol: PfuncSymbol) -> Sinks:
        found: Sinks = {}
        for message in tree.walk(symbol.decl):
            if not isinstance(message, tree.MessagePiece) or message.role != "system":
                continue
            for hole in tree.walk(message):
                if isinstance(hole, tree.Show):
                    for name in self.origins(symbol.decl, hole.value) - {_OUTSIDE}:
                        found.setdefault(name, _Way(symbol, (hole.span,)))
        return found

    def _on(self, flow: FlowSymbol) -> Sinks:
        found: Sinks = {}
        for passed in self.passed(flow):
            way = _Way(passed.way.function, (passed.value.span, *passed.way.places))
            for name in self.origins(flow.decl, passed.value) - {_OUTSIDE}:
                found.setdefault(name, way)
        return found

    # where values come from

    def origins(self, decl: tree.PfuncDecl | tree.FlowDecl, value: tree.Expr) -> set[str]:
        """The parameters of a declaration that are in a value, and `_OUTSIDE`."""
        params = {param.name for param in decl.params}
        bound = self._bindings(decl)
        found: set[str] = set()
        waiting, seen = [value], set[str]()
        while waiting:
            for name, symbol in self._read(waiting.pop()):
                if isinstance(symbol, LocalSymbol) and name not in seen:
                    seen.add(name)
                    found |= {name} & params
                    waiting += bound.get(name, ())
                elif self._is_source(symbol):
                    found.add(_OUTSIDE)
        return found

    def _bindings(self, decl: tree.Decl) -> dict[str, list[tree.Expr]]:
        """What each name of a declaration is bound to, anywhere in it."""
        if decl not in self._bound:
            table: dict[str, list[tree.Expr]] = {}
            for node in tree.walk(decl):
                match node:
                    case tree.Assign():
                        value = node.value
                    case tree.Loop() | tree.ForStmt() | tree.ForPiece():
                        value = node.items
                    case _:
                        continue
                for name in node.target.names:
                    table.setdefault(name.id, []).append(value)
            self._bound[decl] = table
        return self._bound[decl]

    def _read(self, value: tree.Expr) -> Iterator[tuple[str, Symbol | None]]:
        """The names in a value, without those that only decide which value it is."""
        waiting: list[tree.Node] = [value]
        while waiting:
            node = waiting.pop()
            if isinstance(node, tree.Conditional):
                waiting += [node.then, node.orelse]
                continue
            symbol = self._session.names.get(node)
            if symbol is not None and not _is_harmless(self._session, node):
                yield (node.id if isinstance(node, tree.Name) else ""), symbol
            waiting += tree.children(node)

    def _is_source(self, symbol: Symbol | None) -> bool:
        """Whether calls of it bring texts that are not in their arguments."""
        match symbol:
            case PfuncSymbol():
                return True
            case ExternSymbol():
                return symbol.effect is not Effect.PURE
            case FlowSymbol():
                return self._brings(symbol)
        return False

    def _brings(self, flow: FlowSymbol) -> bool:
        if flow not in self._results:
            self._results[flow] = False
            returned = [n.value for n in tree.walk(flow.decl) if isinstance(n, tree.Return)]
            found = any(_OUTSIDE in self.origins(flow.decl, value) for value in returned)
            self._results[flow] = found
        return self._results[flow]


def _is_harmless(session: Session, node: tree.Node) -> bool:
    """Whether a value is one of a few that the program itself has listed, or no text."""
    type_ = session.types.get(node)
    if type_ is None and isinstance(symbol := session.names.get(node), LocalSymbol):
        type_ = symbol.type
    return isinstance(type_, Int | Float | Bool | Enum | Choice | Scored)

"""Names of one declaration: what each stands for at this point, local names first."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from parrotc.check.builtins import FUNCTIONS, SPECIAL
from parrotc.check.program import FlowSymbol, LocalSymbol, Symbol, TypeSymbol
from parrotc.check.report import did_you_mean
from parrotc.check.resolve import enum_member, member, member_names
from parrotc.check.rules import BROKEN
from parrotc.check.scope import Scope, Unusable
from parrotc.check.session import BrokenSymbol, File, NamespaceSymbol, Session, builtin
from parrotc.ir.source import Span
from parrotc.ir.types import Enum, Type
from parrotc.syntax import tree


class Place(StrEnum):
    """Where an expression stands: it decides what may be called."""

    CONST = "a constant"
    PROMPT = "a prompt"
    FLOW = "a flow"
    TEST = "a test"


class Naming:
    """Gives names their meaning, in the scope that holds at the moment."""

    def __init__(
        self, session: Session, file: File, place: Place, scope: Scope | None = None
    ) -> None:
        self.session = session
        self.report = session.report
        self.file = file
        self.place = place
        self.scope = scope or Scope()
        self.calls: list[tuple[FlowSymbol, Span]] = []  # of flows: the edges of recursion
        self.partial_records = False  # in a mock, outputs may be left out

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[Scope]:
        """Names mean what they mean in `scope` for a while."""
        outer, self.scope = self.scope, scope
        try:
            yield scope
        finally:
            self.scope = outer

    def bind(self, name: tree.Name, type_: Type) -> LocalSymbol:
        """A new meaning for a name, from here on."""
        symbol = LocalSymbol(name=name.id, span=name.span, type=type_)
        self.session.names[name] = symbol
        self.session.types[name] = type_
        self.scope.bind(symbol)
        return symbol

    def meaning(self, node: tree.Expr) -> Symbol | Unusable | None:
        """What a name, or a name with dots, stands for; None if the node is a plain value."""
        symbol: Symbol | Unusable | None = None
        match node:
            case tree.Name():
                symbol = self._named(node)
            case tree.Attribute():
                symbol = self._dotted(node)
        if isinstance(symbol, Symbol):
            self.session.names[node] = symbol
        return symbol

    def _named(self, node: tree.Name) -> Symbol | Unusable:
        local = self.scope.lookup(node.id)
        if local is not None:
            return local
        symbol = self.session.lookup(self.file, node.id)
        if symbol is not None:
            return symbol
        if node.id in FUNCTIONS or node.id in SPECIAL:
            return builtin(node.id)
        known = {*self.scope.names(), *self.file.names(), *FUNCTIONS}
        self.session.unknown("value", node.id, node.span, known)
        # one mistake, one error: the next uses of the name are silent
        self.scope.bind(LocalSymbol(name=node.id, span=None, type=BROKEN))
        return BrokenSymbol(name=node.id, span=None)

    def _dotted(self, node: tree.Attribute) -> Symbol | None:
        if not isinstance(node.value, tree.Name | tree.Attribute):
            return None
        base = self.session.names.get(node.value) or self.meaning(node.value)
        match base:
            case BrokenSymbol():
                return base
            case TypeSymbol(type=Enum()):
                return enum_member(self.session, base, node.attr, node.attr_span)
            case NamespaceSymbol():
                return self._member(base, node)
        return None

    def _member(self, base: NamespaceSymbol, node: tree.Attribute) -> Symbol:
        symbol = member(self.session, base, node.attr)
        if symbol is not None:
            return symbol
        help_ = did_you_mean(node.attr, member_names(base))
        message = f"the module `{base.name}` declares no `{node.attr}`"
        self.report.add("E0304", message, node.attr_span, help=help_)
        return BrokenSymbol(name=node.attr, span=None)

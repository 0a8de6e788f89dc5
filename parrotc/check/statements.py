"""Statements of flows and tests: names and their types from line to line, branches and loops.

A `for` that binds an outer name again carries it from one iteration to the next: its type is one
that holds the value before the loop and all that the body gives it. The body is typed with the
first and, when it gives more, again with the wider type, until nothing changes.
"""

from collections.abc import Iterator, Sequence

from parrotc.check.exprs import Exprs
from parrotc.check.matching import Matching
from parrotc.check.narrowing import learn, narrow
from parrotc.check.program import LocalSymbol
from parrotc.check.rules import BROKEN, a, join
from parrotc.check.scope import Scope, Unusable
from parrotc.check.typeexprs import TypeReader
from parrotc.ir.diagnostic import Label
from parrotc.ir.source import Span
from parrotc.ir.types import Type
from parrotc.syntax import tree


class Statements:
    """Checks a body. Subclasses say what `return`, `mock` and `assert` mean where they are."""

    def __init__(self, exprs: Exprs) -> None:
        self.exprs = exprs
        self.report = exprs.report
        self.types = TypeReader(exprs.session, exprs.file)
        self._breaks: list[list[Scope]] = []  # scopes at each `break`, of every loop we are in

    def block(self, body: Sequence[tree.Stmt], last: bool = False) -> None:
        """Check statements in order. `last`: nothing of the flow comes after them."""
        for index, node in enumerate(body):
            self.statement(node, last and index == len(body) - 1)

    def statement(self, node: tree.Stmt, last: bool) -> None:
        match node:
            case tree.Assign():
                self._assign(node)
            case tree.IfStmt():
                self._if(node, last)
            case tree.ForStmt():
                self._for(node)
            case tree.Match():
                self._match(node, last)
            case tree.ExprStmt():
                self._effect(node)
            case tree.Break():
                self.misplaced(
                    node,
                    "`break` stands only directly in the body of a loop",
                    "write `break if …`, and nothing around it",
                )
            case tree.Return() | tree.Mock() | tree.Assert():
                self.special(node, last)

    def special(self, node: tree.Return | tree.Mock | tree.Assert, last: bool) -> None:
        raise NotImplementedError

    def misplaced(self, node: tree.Node, message: str, help_: str = "") -> None:
        self.report.add("E0331", message, node.span, help=help_)

    # names and effects

    def _assign(self, node: tree.Assign) -> None:
        type_ = self.types.read(node.type) if node.type else None
        if type_ is None:
            type_ = self.exprs.expr(node.value)
        else:
            what = f"`{node.target.span.text()}`"
            self.exprs.expect(node.value, type_, what)
        self.exprs.unpack(node.target, type_)

    def _effect(self, node: tree.ExprStmt) -> None:
        self.exprs.expr(node.value)
        if not isinstance(node.value, tree.CallExpr | tree.With):
            message = "this value is not used"
            help_ = "give it a name, or remove it"
            self.report.add("E0331", message, node.span, help=help_)

    # branches

    def _if(self, node: tree.IfStmt, last: bool) -> None:
        self.exprs.condition(node.condition)
        outer = self.exprs.scope
        arms = []
        for body, holds in ((node.then, True), (node.orelse, False)):
            with self.exprs.inside(narrow(node.condition, holds, outer)) as scope:
                self.block(body, last)
            arms.append(scope)
        outer.merge(arms)

    def _match(self, node: tree.Match, last: bool) -> None:
        matching = Matching(self.exprs, node)
        outer = self.exprs.scope
        arms = []
        for case in node.cases:
            matching.case(case)
            with self.exprs.inside(outer.inner()) as scope:
                self.block(case.body, last)
            arms.append(scope)
        matching.finish()
        outer.merge(arms)

    # loops

    def _for(self, node: tree.ForStmt) -> None:
        item = self.exprs.items_of(node.items)
        carried = self._carried(node)
        outer = self.exprs.scope
        while True:
            mark = self.report.mark()
            body, ends = self._iteration(node, item, carried)
            wider = {name: self._after(name, t, ends) for name, t in carried.items()}
            if wider == carried or None in wider.values():
                break
            self.report.forget(mark)
            carried = {name: t for name, t in wider.items() if t is not None}
        for name, type_ in carried.items():
            after = wider[name]
            if after is None:
                self._clash(node, name, type_, ends)
            outer.bind(LocalSymbol(name=name, span=_span(body, name), type=after or BROKEN))
        outer.close_loop(body)

    def _carried(self, node: tree.ForStmt) -> dict[str, Type]:
        """The outer names that the body binds again, with their types before the loop."""
        carried = {}
        targets = {name.id: name for name in node.target.names}
        for name in dict.fromkeys(_assigned(node.body)):
            symbol = self.exprs.scope.lookup(name)
            if not isinstance(symbol, LocalSymbol):
                continue
            if name not in targets:
                carried[name] = symbol.type
            else:
                labels = [Label(symbol.span, "bound before the loop")] if symbol.span else []
                message = f"`{name}` is the item of this loop, and also carried through it"
                self.report.add(
                    "E0302", message, targets[name].span, labels=labels,
                    help="give the item another name",
                )  # fmt: skip
        return carried

    def _iteration(
        self, node: tree.ForStmt, item: Type, carried: dict[str, Type]
    ) -> tuple[Scope, list[Scope]]:
        """The scope at the end of the body, and every scope in which an iteration can end."""
        breaks: list[Scope] = []
        with self.exprs.inside(self.exprs.scope.inner()) as scope:
            for name, type_ in carried.items():
                span = _span(scope, name)
                scope.bind(LocalSymbol(name=name, span=span, type=type_))
            self.exprs.unpack(node.target, item)
            for index, statement in enumerate(node.body):
                if isinstance(statement, tree.Break):
                    self._break(statement, node.body[index + 1 :], breaks)
                else:
                    self.statement(statement, last=False)
        return scope, [scope, *breaks]

    def _break(self, node: tree.Break, rest: Sequence[tree.Stmt], breaks: list[Scope]) -> None:
        scope = self.exprs.scope
        if node.condition is not None:
            self.exprs.condition(node.condition)
        elif rest:
            message = "nothing after an unconditional `break` ever runs"
            self.report.add("E0331", message, rest[0].span, help="write `break if …`")
        breaks.append(Scope(scope.outer, dict(scope.own)))
        if node.condition is not None:
            learn(node.condition, False, scope)  # or else what follows does not run

    def _after(self, name: str, type_: Type, ends: Sequence[Scope]) -> Type | None:
        """A type for all that a carried name can be; None if there is none."""
        joined: Type | None = type_
        for scope in ends:
            symbol = scope.lookup(name)
            if joined is not None:
                joined = join(joined, symbol.type) if isinstance(symbol, LocalSymbol) else None
        return joined

    def _clash(self, node: tree.ForStmt, name: str, before: Type, ends: Sequence[Scope]) -> None:
        """Report a carried name whose values have no type in common."""
        for symbol in [scope.lookup(name) for scope in ends]:
            if isinstance(symbol, Unusable):
                message, label = f"`{name}` {symbol.why}", "each iteration needs it"
                self.report.add(
                    "E0332", message, node.items.span, label, labels=symbol.labels, help=symbol.help
                )
                return
            assert isinstance(symbol, LocalSymbol)
            joined = join(before, symbol.type)
            if joined is None:
                first, then = a(before), a(symbol.type)
                message = f"`{name}` is {first} before the loop and {then} after one iteration"
                help_ = "use another name for the new value"
                self.report.add("E0318", message, symbol.span or node.span, help=help_)
                return
            before = joined


def _assigned(body: Sequence[tree.Stmt]) -> Iterator[str]:
    """Names that a body binds, in the branches and loops inside it too."""
    for node in body:
        match node:
            case tree.Assign():
                yield from (name.id for name in node.target.names)
            case tree.IfStmt():
                yield from _assigned(node.then)
                yield from _assigned(node.orelse)
            case tree.ForStmt():
                yield from _assigned(node.body)
            case tree.Match():
                for case in node.cases:
                    yield from _assigned(case.body)


def _span(scope: Scope, name: str) -> Span | None:
    symbol = scope.lookup(name)
    return symbol.span if isinstance(symbol, LocalSymbol) else None

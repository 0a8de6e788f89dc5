"""Flows: structured data flow that ends in `return` on every path."""

from collections.abc import Iterator, Sequence

from parrotc.check.exprs import Exprs
from parrotc.check.naming import Place
from parrotc.check.program import FlowSymbol, LocalSymbol
from parrotc.check.session import File, Session
from parrotc.check.statements import Statements
from parrotc.ir.source import Span
from parrotc.syntax import tree


def check_flow(session: Session, file: File, symbol: FlowSymbol) -> list[tuple[FlowSymbol, Span]]:
    """Check the body of a flow. Gives the flows it calls, and where."""
    exprs = Exprs(session, file, Place.FLOW)
    for param in symbol.params:
        exprs.scope.bind(LocalSymbol(name=param.name, span=param.span, type=param.type))
    body = _Body(exprs, symbol)
    body.block(symbol.decl.body, last=True)
    body.require_return()
    return exprs.calls


class _Body(Statements):
    def __init__(self, exprs: Exprs, symbol: FlowSymbol) -> None:
        super().__init__(exprs)
        self._symbol = symbol
        self._misplaced = False

    def special(self, node: tree.Return | tree.Mock | tree.Assert, last: bool) -> None:
        match node:
            case tree.Return():
                what = f"the result of `{self._symbol.decl.name}`"
                self.exprs.expect(node.value, self._symbol.result, what)
                if not last and not self._misplaced:
                    self._misplaced = True
                    self._early(node)
            case tree.Mock() | tree.Assert():
                word = "mock" if isinstance(node, tree.Mock) else "assert"
                self.misplaced(node, f"`{word}` stands only in a test")

    def _early(self, node: tree.Return) -> None:
        self.report.add(
            "E0330",
            "`return` stands only at the end of a flow",
            node.span,
            note="it ends the flow, or every branch of the `if` or `match` that ends it",
            help="put what follows into an `else`; leave a loop with `break if …`",
        )

    def require_return(self) -> None:
        """Report paths that reach the end without `return`: one error for the first of them."""
        if self._misplaced:
            return
        ends = list(_open_ends(self._symbol.decl.body))
        if not ends:
            return
        decl = self._symbol.decl
        if len(ends) == 1 and ends[0] is decl.body[-1] and not _returns(decl.body):
            message = f"the flow `{decl.name}` returns nothing"
            self.report.add("E0330", message, decl.name_span, help="end it with `return …`")
            return
        node = ends[0]
        label = "this has no `else`" if _lacks_else(node) else "the flow goes on after this"
        message = f"the flow `{decl.name}` can end without `return`"
        help_ = "return in every branch" if _returns(decl.body) else "end it with `return …`"
        self.report.add("E0330", message, node.span, label, help=help_)


def _open_ends(body: Sequence[tree.Stmt]) -> Iterator[tree.Stmt]:
    """The statements after which a body ends, other than `return`."""
    last = body[-1]
    match last:
        case tree.Return():
            return
        case tree.IfStmt() if _returns([last]):
            yield from _open_ends(last.then)
            if last.orelse:
                yield from _open_ends(last.orelse)
            else:
                yield last
        case tree.Match() if _returns([last]):
            for case in last.cases:
                yield from _open_ends(case.body)
        case _:
            yield last


def _returns(body: Sequence[tree.Stmt]) -> bool:
    """Whether there is a `return` anywhere in a body."""
    for node in body:
        match node:
            case tree.Return():
                return True
            case tree.IfStmt():
                if _returns(node.then) or _returns(node.orelse):
                    return True
            case tree.Match():
                if any(_returns(case.body) for case in node.cases):
                    return True
            case tree.ForStmt():
                if _returns(node.body):
                    return True
    return False


def _lacks_else(node: tree.Stmt) -> bool:
    return isinstance(node, tree.IfStmt) and not node.orelse


def check_recursion(
    session: Session, calls: dict[FlowSymbol, list[tuple[FlowSymbol, Span]]]
) -> None:
    """Report flows that call themselves, directly or through others: a plan would not end."""
    done: set[FlowSymbol] = set()
    for start in calls:
        stack: list[tuple[FlowSymbol, Iterator[tuple[FlowSymbol, Span]]]] = []
        if start not in done:
            stack.append((start, iter(calls[start])))
        path = {start}
        while stack:
            flow, rest = stack[-1]
            step = next(rest, None)
            if step is None:
                stack.pop()
                done.add(flow)
                path.discard(flow)
            elif step[0] in path:
                _recursive(session, [f for f, _ in stack], *step)
            elif step[0] not in done:
                path.add(step[0])
                stack.append((step[0], iter(calls.get(step[0], []))))


def _recursive(session: Session, path: list[FlowSymbol], flow: FlowSymbol, span: Span) -> None:
    circle = [f.decl.name for f in path[path.index(flow) :]]
    message = f"the flow `{flow.decl.name}` calls itself"
    if len(circle) > 1:
        message += f": {' → '.join([*circle, flow.decl.name])}"
    session.report.add(
        "E0502",
        message,
        span,
        note="a plan is finite, so flows cannot recurse",
        help="loop over a `range`, and leave it with `break if …`",
    )

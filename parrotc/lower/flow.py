"""Statements of a flow: a block becomes ops, names become the values they are bound to.

A `for` that rebinds names is a `Fold` that carries them; `break if c` turns the rest of the body
into the other arm of an `If`, and the fold's first yield says whether to go on. After an `if`,
a name bound in both arms (or before, and in one) is what the taken arm made of it.
"""

from collections.abc import Mapping, Sequence

from parrotc.check import program as checked
from parrotc.check import rules
from parrotc.ir.names import Names
from parrotc.ir.ops import Flow, Fold, Param, Value
from parrotc.ir.types import BOOL, Context, ListOf, Record, Type
from parrotc.lower.calls import NOTHING_MOCKED, Sites, StandIn
from parrotc.lower.exprs import Exprs
from parrotc.lower.handover import handing_over
from parrotc.lower.region import Region, join
from parrotc.syntax import tree


def lower_flow(program: checked.Program, symbol: checked.FlowSymbol) -> Flow:
    """The flow with the calls it makes; flows that it calls become part of it."""
    region = Region(Names())
    params = []
    for info in symbol.params:
        value = region.names.fresh(info.name, info.type)
        region.env[info.name] = value
        params.append(Param(value, info.default, info.has_default))
    statements = Statements(program, symbol.name, symbol.policy)
    result = region.declared(
        statements.finish(symbol.decl.body, region), symbol.result, symbol.span
    )
    block = handing_over(region.block([param.value for param in params], [result]))
    policy = symbol.policy
    notes = {
        "criteria": policy.criteria,
        "ttft": policy.ttft,
        "tpot": policy.tpot,
        "deadline": policy.deadline,
    }
    kept = tuple(sorted((name, value) for name, value in notes.items() if value is not None))
    return Flow(symbol.name, tuple(params), block, kept, symbol.span)


class Statements:
    """Lowers the body of a flow. In a test, `stand_ins` answer calls of what is mocked."""

    def __init__(
        self,
        program: checked.Program,
        prefix: str,
        policy: checked.Policy,
        stand_ins: Mapping[str, StandIn] = NOTHING_MOCKED,
    ) -> None:
        self._program = program
        self._stand_ins = stand_ins
        self._exprs = self._expressions(Sites(prefix), policy)

    def _expressions(self, sites: Sites, policy: checked.Policy) -> Exprs:
        return Exprs(self._program, sites, policy, self._inline, self._stand_ins)

    def _inline(
        self,
        symbol: checked.FlowSymbol,
        args: Sequence[Value],
        region: Region,
        site: str,
        _node: tree.Node,
    ) -> Value:
        """The body of a called flow, here. Its sites carry the place of the call."""
        body = Region(region.names, ops=region.ops)
        body.env = {info.name: arg for info, arg in zip(symbol.params, args, strict=True)}
        place = f"{site}/{symbol.name}"
        inner = Statements(self._program, place, symbol.policy, self._stand_ins)
        return body.declared(inner.finish(symbol.decl.body, body), symbol.result, symbol.span)

    # the last statement gives the result

    def finish(self, body: Sequence[tree.Stmt], region: Region) -> Value:
        """Lower a body that ends in `return`, in every arm; the value it gives."""
        self.run(body[:-1], region)
        match body[-1]:
            case tree.Return() as last:
                return self._exprs.lower(last.value, region, "result")
            case tree.IfStmt() as last:
                test = self._exprs.lower(last.condition, region)
                return self._finish_arms(test, last.then, last.orelse, region, last)
            case tree.Match() as last:
                subject = self._exprs.lower(last.subject, region)
                return self._finish_cases(subject, last.cases, region)
        raise TypeError("a checked flow ends in `return`")

    def _finish_arms(
        self,
        test: Value,
        then: Sequence[tree.Stmt],
        orelse: Sequence[tree.Stmt],
        region: Region,
        node: tree.Node,
    ) -> Value:
        arms = []
        for body in (then, orelse):
            inner = region.inner()
            arms.append((inner, [self.finish(body, inner)]))
        (result,) = region.choose(test, arms[0], arms[1], ["result"], node.span)
        return result

    def _finish_cases(self, subject: Value, cases: Sequence[tree.Case], region: Region) -> Value:
        case, rest = cases[0], cases[1:]
        if not rest:  # the last case takes what is left: the checker knows that it does
            return self.finish(case.body, region)
        test = self._matches(subject, case, region)
        then, orelse = region.inner(), region.inner()
        arms = (
            (then, [self.finish(case.body, then)]),
            (orelse, [self._finish_cases(subject, rest, orelse)]),
        )
        (result,) = region.choose(test, arms[0], arms[1], ["result"], case.span)
        return result

    # statements in the middle

    def run(self, body: Sequence[tree.Stmt], region: Region) -> None:
        for statement in body:
            self.statement(statement, region)

    def statement(self, node: tree.Stmt, region: Region) -> None:
        match node:
            case tree.Assign():
                self._assign(node, region)
            case tree.ExprStmt():
                self._exprs.lower(node.value, region)
            case tree.IfStmt():
                test = self._exprs.lower(node.condition, region)
                then, orelse = region.inner(), region.inner()
                self.run(node.then, then)
                self.run(node.orelse, orelse)
                merge(test, then, orelse, region, node)
            case tree.Match():
                subject = self._exprs.lower(node.subject, region)
                self._cases(subject, node.cases, region)
            case tree.ForStmt():
                self._for(node, region)
            case tree.Pass():
                pass
            case _:
                raise TypeError(f"no statement of a flow: {type(node).__name__}")

    def _assign(self, node: tree.Assign, region: Region) -> None:
        names = node.target.names
        value = self._exprs.lower(node.value, region, names[0].id if len(names) == 1 else "v")
        if len(names) == 1:
            region.env[names[0].id] = value
        else:
            self._exprs.take_apart(node.target, value, region)

    def _cases(self, subject: Value, cases: Sequence[tree.Case], region: Region) -> None:
        if not cases:
            return
        case, rest = cases[0], cases[1:]
        if not case.patterns or not rest:  # the last case takes what is left
            self.run(case.body, region)
            return
        test = self._matches(subject, case, region)
        then, orelse = region.inner(), region.inner()
        self.run(case.body, then)
        self._cases(subject, rest, orelse)
        merge(test, then, orelse, region, case)

    def _matches(self, subject: Value, case: tree.Case, region: Region) -> Value:
        options = [self._exprs.lower(pattern, region) for pattern in case.patterns]
        if len(options) == 1:
            return region.apply("eq", [subject, options[0]], BOOL, case.span)
        listed = region.apply("list", options, ListOf(subject.type), case.span)
        return region.apply("in", [subject, listed], BOOL, case.span)

    # loops

    def _for(self, node: tree.ForStmt, region: Region) -> None:
        items = self._exprs.lower(node.items, region)
        carried = [name for name in self.changed(node.body) if name in region.env]
        inits = [region.env[name] for name in carried]
        inner = region.inner()
        item, index = self._exprs.bind_item(node.target, items.type, inner)
        params = []
        for name, init in zip(carried, inits, strict=True):
            param = region.names.fresh(name, self._carried_type(name, init.type, node.body))
            inner.env[name] = param
            params.append(param)
        early = any(isinstance(statement, tree.Break) for statement in node.body)
        if early:
            yields = self._until_break(node.body, inner, carried, node)
        else:
            self.run(node.body, inner)
            yields = [inner.env[name] for name in carried]
        results = tuple(
            region.names.fresh(name, param.type)
            for name, param in zip(carried, params, strict=True)
        )
        op = Fold(
            results=results,
            items=items,
            inits=tuple(inits),
            body=inner.block([item, index, *params], yields),
            early=early,
            span=node.span,
        )
        region.ops.append(op)
        region.env.update(zip(carried, results, strict=True))

    def changed(self, body: Sequence[tree.Stmt]) -> list[str]:
        """The names that a body binds, which a loop carries where they have a value before."""
        return _assigned(body)

    def _until_break(
        self, body: Sequence[tree.Stmt], region: Region, carried: list[str], node: tree.ForStmt
    ) -> list[Value]:
        """Go on?, then the carried values, when the loop may be left before the end of `body`."""
        at = next((i for i, s in enumerate(body) if isinstance(s, tree.Break)), None)
        if at is None:
            self.run(body, region)
            return [region.truth(True, node.span), *(region.env[name] for name in carried)]
        self.run(body[:at], region)
        leave = body[at]
        assert isinstance(leave, tree.Break)
        if leave.condition is None:
            return [region.truth(False, leave.span), *(region.env[name] for name in carried)]
        test = self._exprs.lower(leave.condition, region)
        then, orelse = region.inner(), region.inner()
        left = [then.truth(False, leave.span), *(region.env[name] for name in carried)]
        rest = self._until_break(body[at + 1 :], orelse, carried, node)
        return list(
            region.choose(test, (then, left), (orelse, rest), ["go_on", *carried], leave.span)
        )

    def _carried_type(self, name: str, type_: Type, body: Sequence[tree.Stmt]) -> Type:
        """What a carried name may hold: its first value, or any that the body gives it."""
        for assign in _assignments(body):
            names = [target.id for target in assign.target.names]
            if name not in names:
                continue
            given = self._exprs.type_of(assign.value)
            if len(names) > 1:
                assert isinstance(given, Record)
                given = given.fields[names.index(name)].type
            type_ = join(type_, given)
        return type_


def merge(test: Value, then: Region, orelse: Region, region: Region, node: tree.Node) -> None:
    """An `If` that yields every name which an arm has changed and both arms know.

    A name that the arms bind to values of unrelated types is not used after them.
    """
    changed = [
        name
        for name in then.env
        if name in orelse.env
        and (then.env[name] != region.env.get(name) or orelse.env[name] != region.env.get(name))
        and rules.join(then.env[name].type, orelse.env[name].type) is not None
    ]
    if not (changed or then.ops or orelse.ops):
        return
    # the context of a prompt comes first, so that its chain reads straight down
    changed.sort(key=lambda name: not isinstance(then.env[name].type, Context))
    arms = ((then, [then.env[n] for n in changed]), (orelse, [orelse.env[n] for n in changed]))
    hints = [name.strip() for name in changed]
    results = region.choose(test, arms[0], arms[1], hints, node.span)
    region.env.update(zip(changed, results, strict=True))


def _assignments(body: Sequence[tree.Stmt]) -> list[tree.Assign]:
    """Every assignment in a body, in the loops and arms inside it too, in order."""
    found: list[tree.Assign] = []
    for node in body:
        if isinstance(node, tree.Assign):
            found.append(node)
        elif isinstance(node, tree.IfStmt):
            found += _assignments(node.then) + _assignments(node.orelse)
        elif isinstance(node, tree.ForStmt):
            found += _assignments(node.body)
        elif isinstance(node, tree.Match):
            for case in node.cases:
                found += _assignments(case.body)
    return found


def _assigned(body: Sequence[tree.Stmt]) -> list[str]:
    names = (target.id for node in _assignments(body) for target in node.target.names)
    return list(dict.fromkeys(names))

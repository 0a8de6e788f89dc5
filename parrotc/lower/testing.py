"""A `test` block as a flow: assertions and mocks become natives, for whoever runs it to answer.

    test "…":                                  flow @test.0() {
        mock f -> "a"                            %checked.1 = native @test.0.mock.0(%checked, %k)
        assert g(x) == "b"              ==>      …the body of `g`, its calls of `f` natives…
                                                 %checked.2 = native @test.0.assert.0(%checked.1, …)
                                                 return %checked.2
                                               }

A chain of truths leads through the natives: a statement that fails fails all that come after it,
so that a test ends with what fails first in its text. Flows are inlined as everywhere, so what a
mock answers is known here. An extern that is mocked stays a native: it may be called by a prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from parrotc.check import plans
from parrotc.check import program as checked
from parrotc.check.operators import COMPARISONS
from parrotc.ir.names import Names
from parrotc.ir.ops import Effect, Flow, Module, Native, NativeDecl, Param, Value
from parrotc.ir.source import Span
from parrotc.ir.types import BOOL, Type
from parrotc.lower.calls import Inline, Sites, StandIn
from parrotc.lower.exprs import Exprs
from parrotc.lower.flow import Statements, merge
from parrotc.lower.handover import handing_over
from parrotc.lower.module import assemble
from parrotc.lower.region import Region
from parrotc.syntax import tree

_CHECKED = " checked"  # a name no author can write
_NO_TARGET = "test:"  # whoever runs a test answers its natives, by their names


@dataclass(frozen=True)
class Reached:
    """Arguments: the chain, and values that must have been computed by here."""


@dataclass(frozen=True)
class Assertion:
    """Arguments: the chain, the condition, the value of each of `parts`, the message if there is
    one. `parts` are expressions inside the condition."""

    condition: tree.Expr
    parts: tuple[tree.Expr, ...]
    has_message: bool


@dataclass(frozen=True)
class MockStatement:
    """From here on the function is answered with the value. Arguments: the chain, the value."""

    node: tree.Mock
    function: str  # its unique name
    result: Type


@dataclass(frozen=True)
class MockedCall:
    """A call of a mocked function. Arguments: how many answers if it `is_counted`; the call's."""

    function: str
    params: tuple[str, ...]
    is_counted: bool


@dataclass(frozen=True)
class PlanAsked:
    """`plan(flow, …)`. Arguments: the inputs that are given."""

    flow: checked.FlowSymbol
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PrefixAsked:
    """`.prefix("f")`. Argument: the plan."""

    function: str


@dataclass(frozen=True)
class Comparison:
    """A comparison with a figure of a plan. Arguments: both sides."""

    node: tree.Binary


Hook = Reached | Assertion | MockStatement | MockedCall | PlanAsked | PrefixAsked | Comparison


@dataclass(frozen=True)
class Tests:
    """The tests of a file as a module: a flow for each, and what its natives stand for."""

    __test__ = False  # not a class for pytest to collect
    module: Module
    flows: Mapping[tree.TestDecl, Flow]
    hooks: Mapping[str, Hook]


def lower_tests(program: checked.Program, tests: Iterable[tree.TestDecl]) -> Tests:
    """The module of these tests of a program that has no errors."""
    natives = _Natives()
    flows = {test: _flow(program, test, f"test.{n}", natives) for n, test in enumerate(tests)}
    module = assemble(program, list(flows.values()), natives=natives.declared)
    return Tests(module, flows, natives.hooks)


def _flow(program: checked.Program, test: tree.TestDecl, name: str, natives: "_Natives") -> Flow:
    """With mocks, it runs in the order in which it is written: `each` counts calls."""
    region = Region(Names())
    region.env[_CHECKED] = region.truth(True, test.span)
    statements = _TestStatements(program, name, natives)
    statements.run(test.body, region)
    body = handing_over(region.block((), [region.env[_CHECKED]]))
    has_mocks = any(isinstance(node, tree.Mock) for node in tree.walk(test))
    return Flow(name, (), body, (("in_order", True),) if has_mocks else (), test.span)


@dataclass
class _Natives:
    """The natives of some tests as they are found, and what each stands for."""

    declared: dict[str, NativeDecl] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)

    def call(
        self,
        name: str,
        hook: Hook,
        args: Sequence[Value],
        type_: Type,
        region: Region,
        span: Span | None,
        hint: str = "v",
    ) -> Value:
        """A call, in `region`, of a new native that stands for `hook`."""
        name = f"{name}.{len(self.hooks)}"
        params = tuple(Param(Value(f"a{n}", arg.type)) for n, arg in enumerate(args))
        self.declared[name] = NativeDecl(name, _NO_TARGET, params, type_, span=span)
        self.hooks[name] = hook
        result = region.names.fresh(hint, type_)
        op = Native(
            results=(result,), native=name, args=tuple(args), effect=Effect.EFFECTFUL, span=span
        )
        region.ops.append(op)
        return result


class _TestStatements(Statements):
    def __init__(self, program: checked.Program, name: str, natives: _Natives) -> None:
        self._name = name
        self._natives = natives
        self._mocked: dict[str, StandIn] = {}
        super().__init__(program, name, checked.Policy(), self._mocked)

    def _expressions(self, sites: Sites, policy: checked.Policy) -> "_TestExprs":
        self._watching = _TestExprs(self, self._program, sites, policy, self._inline, self._mocked)
        return self._watching

    def changed(self, body: Sequence[tree.Stmt]) -> list[str]:
        return [*super().changed(body), _CHECKED]

    def statement(self, node: tree.Stmt, region: Region) -> None:
        match node:
            case tree.Assert():
                self._assert(node.condition, node, region)
            case tree.Mock():
                self._mock(node, region)
            case tree.ExprStmt():
                value = self._exprs.lower(node.value, region)
                self._chain("reached", Reached(), [value], region, node.span)
            case tree.Assign():
                super().statement(node, region)
                values = [region.env[name.id] for name in node.target.names]
                self._chain("reached", Reached(), values, region, node.span)
            case _:
                super().statement(node, region)

    def native(
        self, kind: str, hook: Hook, args: Sequence[Value], type_: Type, region: Region,
        span: Span | None, hint: str = "v",
    ) -> Value:  # fmt: skip
        return self._natives.call(f"{self._name}.{kind}", hook, args, type_, region, span, hint)

    def _chain(
        self, kind: str, hook: Hook, args: Sequence[Value], region: Region, span: Span
    ) -> None:
        before = region.env[_CHECKED]
        region.env[_CHECKED] = self.native(
            kind, hook, [before, *args], BOOL, region, span, "checked"
        )

    # --- assertions ---

    def _assert(self, condition: tree.Expr, node: tree.Assert, region: Region) -> None:
        """`a and b` is two assertions; of `a or b` the second counts where the first is false."""
        match condition:
            case tree.Binary(op="and"):
                self._assert(condition.left, node, region)
                self._assert(condition.right, node, region)
            case tree.Binary(op="or"):
                test = self._exprs.lower(condition.left, region)
                then, orelse = region.inner(), region.inner()
                self._assert(condition.right, node, orelse)
                merge(test, then, orelse, region, condition)
            case _:
                self._assert_plain(condition, node, region)

    def _assert_plain(self, condition: tree.Expr, node: tree.Assert, region: Region) -> None:
        value, seen = self._watching.watched(condition, region)
        sides = (condition.left, condition.right) if isinstance(condition, tree.Binary) else ()
        parts = [part for part in seen if part in sides or self._is_telling(part)]
        hook = Assertion(condition, tuple(parts), node.message is not None)
        args = [value, *(seen[part] for part in parts)]
        if node.message is None:
            self._chain("assert", hook, args, region, condition.span)
            return
        then, orelse = region.inner(), region.inner()  # a message may fail where all is well
        args.append(self._exprs.lower(node.message, orelse))
        self._chain("assert", hook, args, orelse, condition.span)
        merge(value, then, orelse, region, condition)

    def _is_telling(self, node: tree.Expr) -> bool:
        """Whether a reader does not see the value of an expression in its text."""
        match node:
            case tree.Literal() | tree.ListExpr() | tree.TupleExpr() | tree.RecordExpr():
                return False
            case tree.Attribute():
                return node not in self._program.names  # else a member of an enum
            case tree.Template():
                return len(node.parts) > 1
        return True

    # --- mocks ---

    def _mock(self, node: tree.Mock, region: Region) -> None:
        symbol = self._program.names[node.function]
        assert isinstance(symbol, checked.PfuncSymbol | checked.FlowSymbol | checked.ExternSymbol)
        value = self._exprs.lower(node.value, region)
        hook = MockStatement(node, symbol.name, symbol.result)
        self._chain("mock", hook, [value], region, node.span)
        if not isinstance(symbol, checked.ExternSymbol):
            self._mocked[symbol.name] = self._stand_in(symbol)

    def _stand_in(self, symbol: checked.PfuncSymbol | checked.FlowSymbol) -> StandIn:
        params = tuple(param.name for param in symbol.params)

        def stand_in(
            args: Sequence[Value],
            count: Value | None,
            type_: Type,
            region: Region,
            span: Span | None,
            hint: str,
        ) -> Value:
            hook = MockedCall(symbol.name, params, count is not None)
            given = [*([count] if count is not None else []), *args]
            return self.native(symbol.name, hook, given, type_, region, span, hint)

        return stand_in


class _TestExprs(Exprs):
    """Expressions of a test: plans can be asked for, and the values of parts can be watched."""

    def __init__(
        self,
        test: _TestStatements,
        program: checked.Program,
        sites: Sites,
        policy: checked.Policy,
        inline: Inline,
        stand_ins: Mapping[str, StandIn],
    ) -> None:
        super().__init__(program, sites, policy, inline, stand_ins)
        self._test = test
        self._watched: Region | None = None
        self._seen: dict[tree.Expr, Value] = {}

    def watched(self, node: tree.Expr, region: Region) -> tuple[Value, dict[tree.Expr, Value]]:
        """The value of an expression, and of all in it that is computed in any case."""
        self._watched, self._seen = region, {}
        value = self.lower(node, region)
        self._watched = None
        return value, self._seen

    def lower(self, node: tree.Expr, region: Region, hint: str = "v") -> Value:
        value = self._lower(node, region, hint)
        if region is self._watched:
            self._seen[node] = value
        return value

    def _lower(self, node: tree.Expr, region: Region, hint: str) -> Value:
        match node:
            case tree.CallExpr() if self._is_plan(node):
                return self._plan(node, region, hint)
            case tree.CallExpr(function=tree.Attribute(attr="prefix") as asked) if (
                self.program.types.get(asked.value) == plans.PLAN
            ):
                return self._prefix(asked.value, node, region, hint)
            case tree.Binary() if node.op in COMPARISONS and plans.FIGURE in (
                self.type_of(node.left),
                self.type_of(node.right),
            ):
                sides = [self.lower(node.left, region), self.lower(node.right, region)]
                return self._test.native(
                    "compare", Comparison(node), sides, BOOL, region, node.span, hint
                )
        return super().lower(node, region, hint)

    def _is_plan(self, node: tree.CallExpr) -> bool:
        symbol = self.program.names.get(node.function)
        return isinstance(symbol, checked.BuiltinSymbol) and symbol.name == "plan"

    def _plan(self, node: tree.CallExpr, region: Region, hint: str) -> Value:
        symbol = self.program.names[node.args[0].value]
        assert isinstance(symbol, checked.FlowSymbol)
        given = node.args[1:]
        names = tuple(arg.name or symbol.params[n].name for n, arg in enumerate(given))
        args = [self.lower(arg.value, region) for arg in given]
        hook = PlanAsked(symbol, names)
        return self._test.native("plan", hook, args, plans.PLAN, region, node.span, hint)

    def _prefix(self, plan: tree.Expr, node: tree.CallExpr, region: Region, hint: str) -> Value:
        hook = PrefixAsked(self.program.names[node.args[0].value].name)
        args = [self.lower(plan, region)]
        return self._test.native("prefix", hook, args, plans.PREFIX, region, node.span, hint)

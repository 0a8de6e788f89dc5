"""Checks that a module makes sense, after lowering and after every pass.

Names exist and are unique; definitions dominate uses; operand, result and region types agree; a
chain of contexts has one model and closes the messages it opens; `yield` matches what holds the
region; a freed context is never used again, on any path. One walk, linear in the module.

A context is freed by the name it has: a use in a region is not another reference. So a region
that may run more than once, or not at all, must not free what was made outside of it, but both
arms of an `if` may.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from parrotc.ir.declarations import Declarations, InvalidIR
from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    End,
    Fill,
    Flow,
    Fold,
    Free,
    Function,
    Generate,
    If,
    Map,
    Message,
    Module,
    Native,
    Op,
    Open,
    Render,
    Value,
    operands,
)
from parrotc.ir.printer import print_op
from parrotc.ir.scalar import SCALARS
from parrotc.ir.schema import problem
from parrotc.ir.types import (
    BOOL,
    CONTEXT,
    INT,
    STR,
    Context,
    Int,
    ListOf,
    Optional,
    Type,
    fits,
)

__all__ = ["InvalidIR", "verify"]

_ROLES = ("system", "user", "assistant", "tool")


def verify(module: Module) -> None:
    """Raises `InvalidIR`, naming the op and its place, for the first thing that is wrong."""
    known = Declarations(module)
    known.check()
    for function in module.functions:
        _function(known, function)
    sites: set[str] = set()
    for flow in module.flows:
        _flow(known, flow, sites)


def _function(known: Declarations, function: Function) -> None:
    """A function's body is checked as if its context were one of a model of its own."""
    scope = _Scope(known, f"function `{function.name}`", set())
    params = function.body.params
    if not params or params[0].type != CONTEXT:
        raise InvalidIR(f"{scope.where}: the first parameter must be the context")
    if len(function.outputs) != len(function.body.yields):
        raise InvalidIR(f"{scope.where}: outputs and yielded values differ in number")
    scope.region(function.body, [_State("*"), *[None] * (len(params) - 1)])


def _flow(known: Declarations, flow: Flow, sites: set[str]) -> None:
    scope = _Scope(known, f"flow `{flow.name}`", sites)
    if flow.body.params != tuple(param.value for param in flow.params):
        raise InvalidIR(f"{scope.where}: the body has other parameters than the flow")
    if len(flow.body.yields) != 1 or flow.body.yields[0].type == CONTEXT:
        raise InvalidIR(f"{scope.where}: it must give exactly one value, and no context")
    scope.region(flow.body, [None] * len(flow.params))


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a context: its model, and whether a message is open in it."""

    model: str
    in_message: bool = False


class _Scope:
    """One walk over a flow. `visible` are the values that may be used at this point."""

    def __init__(self, known: Declarations, where: str, sites: set[str]) -> None:
        self.known = known
        self.where = where
        self.names: set[str] = set()
        self.visible: dict[str, Value] = {}
        self.contexts: dict[Value, _State] = {}
        self.loops: dict[Value, int] = {}  # how many repeating regions a context was made in
        self.loop = 0
        self.freed: dict[Value, None] = {}  # in the order in which they were
        self.sites = sites
        self.op: Op | None = None

    def require(self, truth: bool, message: str) -> None:
        if not truth:
            self.fail(message)

    def fail(self, message: str) -> NoReturn:
        """For checks of every value, whose message is only built when it is needed."""
        if self.op is None:
            raise InvalidIR(f"{self.where}: {message}")
        place = f" at {self.op.span}" if self.op.span else ""
        line = print_op(self.op).split("\n")[0]
        raise InvalidIR(f"{self.where}: {message}\n  in `{line}`{place}")

    # --- values and regions ---

    def define(self, value: Value, state: _State | None = None) -> None:
        if value.name in self.names:
            self.fail(f"`%{value.name}` is defined twice")
        self.known.known_type(value.type, self.where)
        self.names.add(value.name)
        self.visible[value.name] = value
        is_context = isinstance(value.type, Context)
        if is_context != (state is not None):
            self.fail(f"`%{value.name}` has a wrong type")
        if state is not None:
            self.contexts[value] = state
            self.loops[value] = self.loop

    def use(self, value: Value) -> None:
        found = self.visible.get(value.name)
        if found is None:
            self.fail(f"`%{value.name}` is not defined here")
        if found is not value and found != value:
            self.fail(f"`%{value.name}` is a `{found.type}`, not a `{value.type}`")
        if value in self.freed:
            self.fail(f"`%{value.name}` is used after it was freed")

    def region(
        self, block: Block, states: Sequence[_State | None] = (), repeats: bool = False
    ) -> list[_State | None]:
        """Walk a region; the states of the contexts it yields. Its values end with it."""
        before, holder = len(self.visible), self.op
        self.loop += repeats
        for param, state in zip(block.params, states, strict=True):
            self.define(param, state)
        for op in block.ops:
            self.op = op
            for value in operands(op):
                self.use(value)
            self.step(op)
        self.op = holder
        for value in block.yields:
            self.use(value)
        self.loop -= repeats
        while len(self.visible) > before:
            self.visible.popitem()
        return [self.contexts.get(value) for value in block.yields]

    def results(self, op: Op, types: Sequence[Type], states: Sequence[_State | None]) -> None:
        """The op assigns values of the types it gives; contexts have the states it gives."""
        self.require(len(op.results) == len(types), f"it gives {len(types)} values")
        for value, type_, state in zip(op.results, types, states, strict=True):
            if not fits(type_, value.type):
                self.fail(f"it gives a `{type_}` as `%{value.name}`")
            self.define(value, state)

    def result(self, op: Op, type_: Type | None = None, state: _State | None = None) -> None:
        """The op assigns one value: of this type, or of any that is no context."""
        self.require(len(op.results) == 1, "it gives one value")
        self.results(op, [op.results[0].type if type_ is None else type_], [state])

    # --- ops ---

    def step(self, op: Op) -> None:
        match op:
            case Const():
                found = problem(op.result.type, json.loads(op.json))
                self.require(found is None, f"a constant of another type: {found}")
                self.result(op)
            case Apply():
                self.require(op.function in SCALARS, f"no function is called `{op.function}`")
                self.require(not self.have_contexts(op.args), "it reads a context as data")
                self.result(op)
            case Native():
                self.native(op)
            case Call():
                self.call(op)
            case Map():
                self.map(op)
            case Fold():
                self.fold(op)
            case If():
                self.branch(op)
            case Attempt():
                self.attempt(op)
            case _:
                self.context_op(op)

    def have_contexts(self, values: Sequence[Value]) -> bool:
        return any(isinstance(value.type, Context) for value in values)

    def native(self, op: Native) -> None:
        declared = self.known.natives.get(op.native)
        self.require(declared is not None, f"no native is called `{op.native}`")
        assert declared is not None
        self.arguments(op.args, [param.value for param in declared.params])
        self.result(op, declared.result)

    def arguments(self, args: Sequence[Value], params: Sequence[Value]) -> None:
        self.require(len(args) == len(params), f"it takes {len(params)} arguments")
        for arg, param in zip(args, params, strict=True):
            self.require(
                fits(arg.type, param.type),
                f"`%{arg.name}` is a `{arg.type}`, and `{param.name}` takes a `{param.type}`",
            )

    def call(self, op: Call) -> None:
        function = self.known.functions.get(op.function)
        self.require(function is not None, f"no function is called `{op.function}`")
        assert function is not None
        self.model(op.model)
        self.site(op.site)
        self.arguments(op.args, function.body.params[1:])
        for number in op.handed:
            is_text = number < len(op.args) and fits(op.args[number].type, STR)
            self.require(is_text, "it hands over what is not a text")
        type_ = function.result_type()
        if op.count is not None:
            self.require(isinstance(op.count.type, Int), "the count must be an int")
            type_ = ListOf(type_)
        self.result(op, type_)

    def model(self, name: str) -> None:
        self.require(name in self.known.models, f"no model is called `{name}`")

    def site(self, site: str) -> None:
        self.require(site not in self.sites, f"two places have the site {site!r}")
        self.sites.add(site)

    # --- regions ---

    def items(self, op: Map | Fold) -> None:
        """The first two parameters of a loop are an item and its index."""
        self.require(len(op.body.params) >= 2, "the region takes an item and an index")
        item, index = op.body.params[:2]
        self.require(fits(op.items.type, ListOf(item.type)), "the items are of another type")
        self.require(index.type == INT, "the index must be an int")

    def map(self, op: Map) -> None:
        self.items(op)
        self.require(len(op.body.params) == 2, "the region takes an item and an index")
        self.region(op.body, [None, None], repeats=True)
        self.require(not self.have_contexts(op.body.yields), "a map gives lists of data")
        types = [ListOf(value.type) for value in op.body.yields]
        self.results(op, types, [None] * len(types))

    def fold(self, op: Fold) -> None:
        self.items(op)
        carried = op.body.params[2:]
        self.arguments(op.inits, carried)
        states = [self.contexts.get(value) for value in op.inits]
        after = self.region(op.body, [None, None, *states], repeats=True)
        yields = op.body.yields
        if op.early:
            self.require(bool(yields) and yields[0].type == BOOL, "it yields whether to go on")
            after, yields = after[1:], yields[1:]
        self.arguments(yields, carried)
        self.require(after == states, "a carried context changes its model or its message")
        self.results(op, [param.type for param in carried], states)

    def branch(self, op: If) -> None:
        """What one arm frees the other still has; after both, neither is there."""
        self.require(op.condition.type == BOOL, "the condition must be a bool")
        before = len(self.freed)
        then = self.region(op.then)
        freed = [self.freed.popitem()[0] for _ in range(len(self.freed) - before)]
        orelse = self.region(op.orelse)
        self.freed.update(dict.fromkeys(freed))
        self.require(len(op.then.yields) == len(op.orelse.yields), "its arms yield differently")
        self.require(then == orelse, "its arms yield contexts in different states")
        self.arguments(op.then.yields, op.results)
        self.arguments(op.orelse.yields, op.results)
        self.results(op, [value.type for value in op.results], then)

    def attempt(self, op: Attempt) -> None:
        self.require(op.retries >= 0, "the number of retries must not be negative")
        states = self.region(op.body, repeats=True)
        types = [value.type for value in op.body.yields]
        if op.tolerant:
            self.require(not self.have_contexts(op.body.yields), "a context cannot be None")
            types = [type_ if isinstance(type_, Optional) else Optional(type_) for type_ in types]
        self.results(op, types, states)

    # --- contexts ---

    def state(self, context: Value) -> _State:
        found = self.contexts.get(context)
        self.require(found is not None, f"`%{context.name}` is not a context")
        assert found is not None
        return found

    def context_op(self, op: Op) -> None:
        match op:
            case Open():
                self.model(op.model)
                self.prefix(op)
                self.result(op, CONTEXT, _State(op.model))
            case Message():
                self.message(op)
            case End():
                state = self.state(op.context)
                self.require(state.in_message, "no message is open")
                self.result(op, CONTEXT, _State(state.model))
            case Fill():
                for part in op.parts:
                    if isinstance(part, Value):
                        fit = part.type == ListOf(INT) or fits(part.type, STR)
                        self.require(fit, f"`%{part.name}` is not a text")
                self.result(op, CONTEXT, self.state(op.context))
            case Generate():
                self.generate(op)
            case Render():
                self.result(op, CONTEXT, self.state(op.context))
            case Free():
                self.free(op)

    def prefix(self, op: Open) -> None:
        if op.prefix is not None:
            found = self.known.prefixes.get(op.prefix)
            self.require(
                found is not None and found.model == op.model,
                f"the model has no prefix `{op.prefix}`",
            )

    def message(self, op: Message) -> None:
        state = self.state(op.context)
        self.require(op.role in _ROLES, f"no role is called `{op.role}`")
        self.require(not state.in_message, "the message before is still open")
        self.result(op, CONTEXT, _State(state.model, True))

    def generate(self, op: Generate) -> None:
        state = self.state(op.context)
        self.site(op.site)
        self.require(op.max_tokens >= 1, "it must be allowed a token")
        self.require(len(op.results) == 2, "it gives a context and a value")
        self.results(op, [CONTEXT, op.results[1].type], [state, None])

    def free(self, op: Free) -> None:
        self.state(op.context)
        self.require(not op.results, "it gives nothing")
        self.require(
            self.loops[op.context] == self.loop,
            f"`%{op.context.name}` may be freed more than once or not at all",
        )
        self.freed[op.context] = None

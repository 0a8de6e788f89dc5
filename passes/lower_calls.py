"""Put the bodies of semantic functions where they are called.

                                                %c = context.open @local
    %d = call @digest(%part)               ==>  %c.1 = context.message %c, role user
                                                %c.2 = context.fill %c.1, %part
                                                …
                                                %c.9, %d = context.gen %c.8 {site = "main.0/0"}

Each call starts from a context of its model that has read nothing. A generation's site becomes
that of the call and its own. With `count`, what comes before the first *sampled* generation runs
once and the rest is a `map` over `range(count)`, so all draws fork one filled prompt; where nothing
is sampled the one value is repeated. Several outputs are a record (one for each draw). An argument
that is handed over as tokens is read as its ids: `%ids = apply ids[model = "local"](%part)`.

Precondition: every called function is in the module. Raises `CompileError` for what cannot be
handed over (`handover.py`). Afterwards there are neither calls nor
functions. Linear in what comes out.
"""

from collections.abc import Sequence
from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Flow,
    Function,
    Generate,
    Map,
    Module,
    Op,
    Open,
    Value,
    blocks,
    substitute,
    with_blocks,
)
from parrotc.ir.types import CONTEXT, INT, ListOf, Type
from parrotc.passes.handover import check_handover
from parrotc.passes.remark import Remark, Remarks
from parrotc.passes.rewrite import Copy, holds_sampled, map_flows
from parrotc.passes.target import Target


def lower_calls(module: Module, target: Target, remarks: Remarks) -> Module:
    check_handover(module, target)
    functions = {function.name: function for function in module.functions}

    def change(flow: Flow) -> Block:
        return _Inliner(functions, Names(flow.body), remarks).block(flow.body)

    return replace(map_flows(module, change), functions=())


class _Inliner:
    def __init__(self, functions: dict[str, Function], names: Names, remarks: Remarks) -> None:
        self._functions = functions
        self._names = names
        self._remarks = remarks
        self._values: dict[Value, Value] = {}

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            op = substitute(op, self._values)
            if isinstance(op, Call):
                ops += self._call(op)
            elif held := blocks(op):
                ops.append(with_blocks(op, tuple(map(self.block, held))))
            else:
                ops.append(op)
        return Block(block.params, tuple(ops), self._of(block.yields))

    def _of(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(self._values.get(value, value) for value in values)

    def _call(self, call: Call) -> list[Op]:
        function = self._functions[call.function]
        body = function.body
        context = self._names.fresh("c", CONTEXT)
        args = list(call.args)
        ops: list[Op] = []
        for number in call.handed:
            ops.append(self._ids(call, args[number]))
            args[number] = ops[-1].result
        ops.append(Open(results=(context,), model=call.model, span=call.span))
        given = dict(zip(body.params, (context, *args), strict=True))
        if call.count is None:
            if len(function.outputs) == 1:
                given |= _same_name(function, call.result)
            copy = Copy(self._names, given, lambda op: _adapt(op, call))
            ops += copy.ops(body.ops)
            self._bind(call, function, copy.of(body.yields), ops)
            return ops
        return ops + self._draws(
            call, function, Copy(self._names, given, lambda o: _adapt(o, call))
        )

    def _ids(self, call: Call, text: Value) -> Op:
        return Apply(
            results=(self._names.fresh("ids", ListOf(INT)),),
            function="ids",
            args=(text,),
            attrs=(("model", call.model),),
            span=call.span,
        )

    def _bind(
        self, call: Call, function: Function, outputs: tuple[Value, ...], ops: list[Op]
    ) -> None:
        """Make the call's result what its body yields."""
        if len(function.outputs) == 1:
            if outputs[0] != call.result:
                self._values[call.result] = outputs[0]
        else:
            ops.append(_record(call.result, function, outputs, call))

    def _draws(self, call: Call, function: Function, copy: Copy) -> list[Op]:
        """A call with `count`."""
        assert call.count is not None and isinstance(call.result.type, ListOf)
        body = function.body
        item = call.result.type.item
        first = next((n for n, op in enumerate(body.ops) if holds_sampled(op)), None)
        if first is None:
            return self._broadcast(call, function, copy, item)
        ops = copy.ops(body.ops[:first])
        inner = copy.ops(body.ops[first:])
        (value,) = self._outputs(call, function, copy.of(body.yields), inner, item)
        draws = self._names.fresh("draws", ListOf(INT))
        params = (self._names.fresh("draw", INT), self._names.fresh("i", INT))
        ops.append(Apply(results=(draws,), function="range", args=(call.count,), span=call.span))
        block = Block(params, tuple(inner), (value,))
        ops.append(Map(results=call.results, items=draws, body=block, span=call.span))
        return ops

    def _broadcast(self, call: Call, function: Function, copy: Copy, item: Type) -> list[Op]:
        assert call.count is not None
        message = f"`{call.site}` draws several times without sampling: it runs once for all"
        self._remarks.append(Remark("lower-calls", message, call.span, "W0601"))
        ops = copy.ops(function.body.ops)
        (value,) = self._outputs(call, function, copy.of(function.body.yields), ops, item)
        args = (value, call.count)
        ops.append(Apply(results=call.results, function="repeat", args=args, span=call.span))
        return ops

    def _outputs(
        self,
        call: Call,
        function: Function,
        outputs: tuple[Value, ...],
        ops: list[Op],
        type_: Type,
    ) -> tuple[Value, ...]:
        """The one value of a draw; several outputs are put in a record first."""
        if len(function.outputs) == 1:
            return outputs
        result = self._names.fresh("outputs", type_)
        ops.append(_record(result, function, outputs, call))
        return (result,)


def _same_name(function: Function, result: Value) -> dict[Value, Value]:
    """Lets the op that computes the output assign the call's result directly, where it can."""
    (output,) = function.body.yields
    computed = {value for op in function.body.ops for value in op.results}
    return {output: result} if output in computed and output.type == result.type else {}


def _record(result: Value, function: Function, outputs: Sequence[Value], call: Call) -> Op:
    return Apply(
        results=(result,),
        function="record",
        args=tuple(outputs),
        attrs=(("names", function.outputs),),
        span=call.span,
    )


def _adapt(op: Op, call: Call) -> Op:
    """An op of the body as it is at this call: its site, its policy, the model it counts for."""
    match op:
        case Generate():
            op = replace(op, site=f"{call.site}/{op.site}")
            asked = {"asked" if name == "criteria" else name: held for name, held in call.notes}
            return op.with_notes(**asked) if asked else op
        case Apply(function="truncate", attrs=(("model", ""),)):
            return replace(op, attrs=(("model", call.model),))
    return op

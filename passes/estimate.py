"""Write down how much there is to do, and how far each generation is from the end.

    %c1 = context.fill %c, ids[…], %q        ==>  … {scope = "run", tokens = 31}
    %c2, %a = context.gen %c1                     … {cost = 5.1, depth = 0, rank = 9.7}

`tokens` of a fill are those known now. `scope` says who can share them: every run (`global`: all
before and in it is constant), one run (`run`: made once for each), or one round of a loop
(`call`). `cost` is the estimated seconds of a generation, `rank` those from its start to the end of
the flow along the longest path, `depth` how many generations must come before it. The flow gets
its number of `calls`, with the larger arm of each `if`, and its `depth`. Counts that depend on
inputs are written in symbols: `|parts| + 1`.

Precondition: `lower-calls` has run. Linear in the module.
"""

from dataclasses import replace

from parrotc.ir.analyses import Analysis
from parrotc.ir.ops import (
    Block,
    Fill,
    Flow,
    Fold,
    Generate,
    Map,
    Module,
    Op,
    Open,
    Value,
    blocks,
    with_blocks,
)
from parrotc.ir.symbolic import Most
from parrotc.ir.types import Json
from parrotc.passes.costs import Costs, places
from parrotc.passes.remark import Remarks
from parrotc.passes.target import Target


def estimate(module: Module, target: Target, remarks: Remarks) -> Module:
    return replace(module, flows=tuple(_flow(module, flow, target) for flow in module.flows))


def _flow(module: Module, flow: Flow, target: Target) -> Flow:
    analysis = Analysis(module, flow)
    body = _Estimating(flow, target, analysis).block(flow.body, "run")
    calls, depth = analysis.calls.most, analysis.depth
    notes = {**dict(flow.notes), "calls": str(calls), "depth": str(depth)}
    return replace(flow, body=body, notes=tuple(sorted(notes.items())))


class _Estimating:
    def __init__(self, flow: Flow, target: Target, analysis: Analysis) -> None:
        self._analysis = analysis
        self._costs = Costs(flow.body, target)
        self._places = places(flow, target)
        self._constant: set[Value] = set()  # contexts that have read nothing but constants

    def block(self, block: Block, scope: str) -> Block:
        return replace(block, ops=tuple(self._op(op, scope) for op in block.ops))

    def _op(self, op: Op, scope: str) -> Op:
        match op:
            case Open():
                self._constant.add(op.result)
            case Fill():
                if op.context in self._constant and not any(isinstance(p, Value) for p in op.parts):
                    self._constant.add(op.result)
                    scope = "global"
                return op.with_notes(tokens=self._costs.constant_tokens(op), scope=scope)
            case Generate():
                place = self._places.gens[op.site]
                depth = _note(self._analysis.before(op))
                return op.with_notes(
                    cost=round(place.cost, 4), rank=round(place.rank, 4), depth=depth
                )
            case _ if held := blocks(op):
                inner = "call" if isinstance(op, Map | Fold) else scope
                return with_blocks(op, tuple(self.block(one, inner) for one in held))
        return op


def _note(count: Most) -> Json:
    return str(count) if count.constant is None else int(count.constant)

"""From what is asked of a result to what each generation should be quick at.

    flow … {criteria = "latency", deadline = 30}
      %as = map %x in %xs { … gen … }       ==>  … gen {criteria = "throughput", due = 12.4}
      %b = … gen over %as …                      … gen {criteria = "latency", due = 30}

A result that somebody waits for is asked for with `latency` unless the flow says `throughput`. The
ask goes from results to operands; where several meet, the stricter wins, and an ask that
`with (…)` made for one call replaces what comes from its readers. Generations that one reader
awaits together, and those of a `map`, form a group: only the last of them counts, so each runs
throughput-style, while what comes before them keeps the ask. A deadline is shared out along the
longest path through each generation in proportion to estimated seconds (`due`); `ttft` and `tpot`
go to the generations that nothing but the result awaits.

Precondition: `lower-calls` has run. Linear in the module.
"""

from collections import Counter

from parrotc.ir.ops import (
    Block,
    Flow,
    Fold,
    Generate,
    Map,
    Module,
    Op,
    Value,
    blocks,
    operands,
    with_blocks,
)
from parrotc.passes.awaits import Signature, awaited
from parrotc.passes.costs import Places, places
from parrotc.passes.notes import stricter
from parrotc.passes.remark import Remarks
from parrotc.passes.rewrite import has_effect, map_flows
from parrotc.passes.target import Target


def propagate_criteria(module: Module, target: Target, remarks: Remarks) -> Module:
    return map_flows(module, lambda flow: _Propagation(flow, target).run())


def demands(flow: Flow, target: Target) -> dict[str, str | None]:
    """What is asked of each generation, by site, before being in a group makes it less urgent."""
    propagation = _Propagation(flow, target)
    propagation.run()
    return propagation.demands


class _Propagation:
    def __init__(self, flow: Flow, target: Target) -> None:
        notes = dict(flow.notes)
        self._flow = flow
        self._deadline: float = notes.get("deadline") or 0.0
        self._pace = {name: notes[name] for name in ("ttft", "tpot") if name in notes}
        self._criteria = notes.get("criteria") or "latency"
        self._places: Places | None = places(flow, target) if self._deadline else None
        self._awaited = awaited(flow.body)
        self._sizes: Counter[Signature] = Counter(self._awaited.values())
        self._asked: dict[str, str | None] = {}  # of a value, by what reads it
        self.demands: dict[str, str | None] = {}

    def run(self) -> Block:
        return self._block(self._flow.body, [self._criteria], in_map=False)

    def _block(self, block: Block, asked: "list[str | None]", *, in_map: bool) -> Block:
        for value, one in zip(block.yields, asked, strict=True):
            self._ask(value, one)
        ops: list[Op] = []
        for op in reversed(block.ops):
            ops.append(self._op(op, in_map))
        return Block(block.params, tuple(reversed(ops)), block.yields)

    def _ask(self, value: Value, one: str | None) -> None:
        self._asked[value.name] = stricter(self._asked.get(value.name), one)

    def _op(self, op: Op, in_map: bool) -> Op:
        asked = None
        for value in op.results:
            asked = stricter(asked, self._asked.get(value.name))
        if isinstance(op, Generate):
            asked = op.note("asked") or asked
            op = self._generate(op, asked, in_map)
        elif held := blocks(op):
            if has_effect(op):  # somebody waits for the run to end
                asked = stricter(asked, "throughput")
            op = self._region(op, held, asked, in_map)
        for value in operands(op):
            self._ask(value, asked)
        return op

    def _region(self, op: Op, held: tuple[Block, ...], asked: str | None, in_map: bool) -> Op:
        """What a loop carries is asked for as strictly as anything that comes out of it."""
        wanted = [self._asked.get(value.name) for value in op.results]
        if isinstance(op, Fold):
            for value in op.body.params[2:]:
                self._ask(value, asked)
        inner = in_map or isinstance(op, Map)
        done = []
        for block in held:
            spare = [asked] * (len(block.yields) - len(wanted))  # whether a fold goes on
            done.append(self._block(block, [*spare, *(w or asked for w in wanted)], in_map=inner))
        op = with_blocks(op, tuple(done))
        return op.with_notes(criteria="throughput") if isinstance(op, Map) and asked else op

    def _generate(self, op: Generate, asked: str | None, in_map: bool) -> Generate:
        self.demands[op.site] = asked
        signature = self._awaited[op.site]
        together = in_map or self._sizes[signature] > 1
        criteria = "throughput" if together and not op.note("asked") else asked
        notes: dict[str, object] = {"criteria": criteria}
        if self._places is not None:
            place = self._places.gens[op.site]
            path = place.before + place.rank
            share = (place.before + place.cost) / path if path else 1.0
            notes["due"] = round(self._deadline * share, 3)
        if signature == ("result",):
            notes |= {name: op.note(name) or pace for name, pace in self._pace.items()}
        return op.with_notes(**notes)

"""When the values of a flow arrive, and what of a prompt is there before them.

    %c1 = context.fill %c, ids[…], %doc        0.0 s: %doc is an input
    %c2 = context.fill %c1, "Facts: ", %facts  6.4 s: %facts is being generated
    %c3, %a = context.gen %c2

Both passes that fill prompts before they are whole ask here: which value a prompt waits for, which
fills lead to a generation that is sure to run with them, and how to cut a fill before a value.
Seconds are guesses of `costs.py`; they only say what is probably known before what.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from parrotc.ir.names import Names
from parrotc.ir.ops import Block, Fill, Fold, Generate, Op, Value, blocks, operands
from parrotc.passes.costs import Costs


class Arrivals:
    """Seconds from the start of a flow until each value is there.

    What a fold carries arrives in a round when the round before it is done, as if rounds began
    together; not where a fold may stop early, for then the next round is not sure to come. The
    body of a fold is walked twice, everything else once.
    """

    def __init__(self, body: Block, costs: Costs) -> None:
        self._costs = costs
        self._at: dict[str, float] = {}
        self._began: dict[str, float] = {}  # when the region of an op began, by what it assigns
        self._enter(body, 0.0)
        self._block(body, 0.0)

    def at(self, value: Value) -> float:
        return self._at[value.name]

    def is_late(self, value: Value, reader: Op) -> bool:
        """Whether the region that `reader` stands in begins before `value` is there."""
        return self._at[value.name] > self._began[reader.results[0].name]

    def _block(self, block: Block, start: float) -> float:
        """When all of a region is done that begins at `start`."""
        latest = start
        for op in block.ops:
            done = self._op(op, max([start, *(self._at[value.name] for value in operands(op))]))
            for value in op.results:
                self._at[value.name] = done
                self._began[value.name] = start
            latest = max(latest, done)
        return latest

    def _enter(self, block: Block, start: float) -> None:
        self._at.update((param.name, start) for param in block.params)

    def _op(self, op: Op, start: float) -> float:
        for held in blocks(op):
            self._enter(held, start)
        if isinstance(op, Fold):
            return self._fold(op, start)
        done = start + self._costs.seconds(op)
        for held in blocks(op):
            done = max(done, self._block(held, start))
        return done

    def _fold(self, op: Fold, start: float) -> float:
        once = self._block(op.body, start) - start
        if not op.early:
            for param, last in carried(op):
                self._at[param.name] = max(start, self._at[last.name])
            self._block(op.body, start)
        return start + once * self._costs.rounds(op)


def carried(op: Fold) -> Iterator[tuple[Value, Value]]:
    """Each value that a fold carries, in the body, and what a round makes of it."""
    return zip(op.body.params[2:], op.body.yields[1 if op.early else 0 :], strict=True)


def prompts(block: Block) -> Iterator[tuple[Fill, ...]]:
    """For each generation of a region, the fills of that region which lead to it, in order.

    When the region runs, that generation does, unless something that it reads fails.
    """
    fills = {op.result.name: op for op in block.ops if isinstance(op, Fill)}
    for op in block.ops:
        if isinstance(op, Generate):
            found: list[Fill] = []
            context = op.context
            while (fill := fills.get(context.name)) is not None:
                found.append(fill)
                context = fill.context
            yield tuple(reversed(found))


def cut(fill: Fill, places: Sequence[int], names: Names) -> list[Fill]:
    """The fill as several, one after the other, cut before the parts with these numbers."""
    ends = [at for at in sorted(set(places)) if 0 < at < len(fill.parts)]
    out: list[Fill] = []
    context = fill.context
    for first, last in zip([0, *ends], [*ends, len(fill.parts)], strict=True):
        result = fill.result if last == len(fill.parts) else names.like(fill.result)
        out.append(replace(fill, results=(result,), context=context, parts=fill.parts[first:last]))
        context = result
    return out

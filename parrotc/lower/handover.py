"""Which arguments `with (handover=tokens)` hands over: the texts that calls before have generated.

    draft = write(topic)
    return refine(draft, tone) with (handover=tokens)     # `draft` as its ids, `tone` as text

Lowering marks every text of such a call first, since where a value comes from is known only when
the flow is whole. A call with nothing generated keeps all its marks: `lower-calls` says what is
wrong with them.
"""

from dataclasses import replace

from parrotc.ir.ops import Block, Call, Op, blocks, walk, with_blocks
from parrotc.ir.origins import Origins


def handing_over(body: Block) -> Block:
    """The body of a flow with the marks of each call narrowed to what was generated."""
    if not any(isinstance(op, Call) and op.handed for op in walk(body)):
        return body
    origins = Origins(body)

    def narrowed(op: Op) -> Op:
        if isinstance(op, Call):
            spoken = [n for n in op.handed if any(map(_is_call, origins.of(op.args[n])))]
            return replace(op, handed=tuple(spoken) or op.handed)
        return with_blocks(op, tuple(map(visit, blocks(op))))

    def visit(block: Block) -> Block:
        return replace(block, ops=tuple(map(narrowed, block.ops)))

    return visit(body)


def _is_call(source: object) -> bool:
    return isinstance(source, Call)

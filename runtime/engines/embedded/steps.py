"""What one forward pass computes: the next token of each generation, and parts of prompts.

    rows      one token each, after a path of nodes and its own earlier tokens
    segments  tokens first … last of a node, after the node's parent and its own earlier tokens

From these follows the list of reads: each node is read once, by all rows and segments below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from parrotc.kernels.treeattention import Read
from parrotc.runtime.engines.embedded.kv import Node, Slots, path
from parrotc.runtime.engines.embedded.model import Step


class Row(Protocol):
    """A running generation: `token` comes next, after `fed` own ones."""

    parent: Node
    token: int
    fed: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens of `node` from `first` up to `last` are to be computed."""

    node: Node
    first: int
    last: int


class _Builder:
    """Numbers the tokens of a step, rows first, and notes who reads what."""

    def __init__(self, rows: Sequence[Row], segments: Sequence[Segment], slots: Slots) -> None:
        self.slots = slots
        self.count = len(rows)
        self.segments = segments
        self.ids = [row.token for row in rows]
        self.positions = [row.parent.end + row.fed for row in rows]
        self.fed = torch.tensor([row.fed for row in rows], dtype=torch.int64)
        self.readers: dict[Node, list[int]] = {}
        self.starts: list[int] = []
        for number, row in enumerate(rows):
            self._reads_path(row.parent, [number])
        for segment in segments:
            self._add(segment)
        self.index = torch.arange(self.count)
        self.own = 1 + max((row.fed for row in rows), default=0)
        self.mask = self._mask()

    def _add(self, segment: Segment) -> None:
        node, first, last = segment.node, segment.first, segment.last
        start = len(self.ids)
        self.starts.append(start)
        self.ids += node.ids[first:last]
        self.positions += range(node.start + first, node.start + last)
        self._reads_path(node.parent, list(range(start, len(self.ids))))

    def _reads_path(self, node: Node | None, numbers: list[int]) -> None:
        for above in path(node):
            self.readers.setdefault(above, []).extend(numbers)

    def _mask(self) -> Tensor:
        hidden = torch.arange(self.own) > self.fed[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.slots.keys[0].dtype)
        return mask.masked_fill_(hidden, float("-inf"))[:, None, None]

    def rows(self) -> Tensor:
        """The readers of each read, in the order of `reads`."""
        numbers = list(range(self.count))
        for readers in self.readers.values():
            numbers += readers
        for segment, start in zip(self.segments, self.starts, strict=True):
            own = list(range(start, start + segment.last - segment.first))
            numbers += own * (2 if segment.first else 1)
        return torch.tensor(numbers, dtype=torch.int64)

    def reads(self, layer: int) -> list[Read]:
        reads = []
        if self.count:
            keys, values = (
                table[layer][: self.count, :, : self.own]
                for table in (self.slots.keys, self.slots.values)
            )
            reads.append(Read(keys, values, self.count, mask=self.mask))
        for node, readers in self.readers.items():
            reads.append(Read(node.keys[layer], node.values[layer], len(readers)))
        for segment in self.segments:
            keys, values = segment.node.keys[layer], segment.node.values[layer]
            first, last = segment.first, segment.last
            count = last - first
            if first:
                reads.append(Read(keys[:, :, :first], values[:, :, :first], count))
            own = slice(first, last)
            reads.append(Read(keys[:, :, own], values[:, :, own], count, causal=True))
        return reads

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        if self.count:
            self.slots.keys[layer][self.index, :, self.fed] = keys[: self.count]
            self.slots.values[layer][self.index, :, self.fed] = values[: self.count]
        for segment, start in zip(self.segments, self.starts, strict=True):
            new = slice(start, start + segment.last - segment.first)
            own = slice(segment.first, segment.last)
            segment.node.keys[layer][0, :, own] = keys[new].transpose(0, 1)
            segment.node.values[layer][0, :, own] = values[new].transpose(0, 1)


def build(rows: Sequence[Row], segments: Sequence[Segment], slots: Slots) -> Step:
    """The step of these rows and segments; its tokens are in their order.

    A segment's parent is computed, or all of it comes in an earlier segment of the same step.
    """
    builder = _Builder(rows, segments, slots)
    return Step(
        ids=torch.tensor(builder.ids, dtype=torch.int64),
        positions=torch.tensor(builder.positions, dtype=torch.int64),
        rows=builder.rows(),
        write=builder.write,
        reads=builder.reads,
    )

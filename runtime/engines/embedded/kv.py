"""Where keys and values live: a tree of contexts, and a table for what is being generated.

A context stores only its own tokens and refers to its parent for the rest, so a parent is stored
once, however many children it has. It goes when neither a caller nor a child holds it. Running
generations keep their own tokens in `Slots`, side by side, so that one operation serves them all;
when one ends, what it keeps becomes a context.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from parrotc.runtime.engines.embedded.shape import Shape
from parrotc.runtime.engines.protocol import ContextId, EngineError


class Node:
    """Some tokens after those of `parent`; the first `computed` have their keys and values.

    `keys[layer]` and `values[layer]` are `[1, kv_heads, length, dim]`. `hidden` is the model's last
    state after the last token, from which the next one is drawn; None when it was not kept.
    `states` are those after every token, for whoever set it to a list.
    """

    __slots__ = (
        "computed", "hidden", "holders", "ids", "keys", "parent", "start", "states", "values",
    )  # fmt: skip

    def __init__(self, parent: "Node | None", ids: Sequence[int], storage: Tensor) -> None:
        self.parent = parent
        self.ids = tuple(ids)
        self.start: int = parent.end if parent else 0
        self.keys, self.values = (part.unbind(0) for part in storage.unbind(1))
        self.computed = 0
        self.hidden: Tensor | None = None
        self.states: list[Tensor] | None = None
        self.holders = 0

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.ids)

    @property
    def is_computed(self) -> bool:
        return self.computed == len(self.ids)


def path(node: Node | None) -> Iterator[Node]:
    """The nodes that hold the tokens up to the end of `node`, from there to the root."""
    while node is not None:
        if node.ids:
            yield node
        node = node.parent


class Tree:
    """All contexts by name, and how many tokens they hold together."""

    def __init__(self, shape: Shape, dtype: torch.dtype, capacity: int) -> None:
        """`capacity` is the most tokens that all contexts together may hold."""
        self.contexts: dict[ContextId, Node] = {}
        self.tokens = 0
        self._shape = shape
        self._dtype = dtype
        self._capacity = capacity

    def get(self, context: ContextId) -> Node:
        try:
            return self.contexts[context]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {context}") from None

    def grow(self, parent: Node | None, ids: Sequence[int], storage: Tensor | None = None) -> Node:
        """A child of `parent` with one holder. Raises `EngineError` when it would be too long."""
        end = (parent.end if parent else 0) + len(ids)
        if end > self._shape.context_length:
            raise EngineError(
                "context_length",
                f"{end:,} tokens are more than the model's {self._shape.context_length:,}",
            )
        if self.tokens + len(ids) > self._capacity:
            raise EngineError(
                "capacity", f"all contexts together would hold more than {self._capacity:,} tokens"
            )
        node = Node(parent, ids, self.storage(1, len(ids)) if storage is None else storage)
        self.tokens += len(ids)
        if parent is not None:
            parent.holders += 1
        node.holders = 1
        return node

    def drop(self, node: Node | None) -> None:
        """One holder less; what nobody holds goes, and so on up the tree."""
        while node is not None:
            node.holders -= 1
            if node.holders:
                return
            self.tokens -= len(node.ids)
            node = node.parent

    def free(self, context: ContextId) -> None:
        node = self.get(context)
        del self.contexts[context]
        self.drop(node)

    def storage(self, rows: int, length: int) -> Tensor:
        """Room for keys and values: `[layers, 2, rows, kv_heads, length, dim]`."""
        shape = self._shape
        return torch.empty(
            (shape.layers, 2, rows, shape.kv_heads, length, shape.head_dim), dtype=self._dtype
        )


class Slots:
    """Keys and values of running generations: row i of the table is generation i.

    Grows by doubling, in rows and in length.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._table = tree.storage(0, 0)
        self._split()

    def reserve(self, rows: int, length: int) -> None:
        old = self._table
        if rows <= old.shape[2] and length <= old.shape[4]:
            return
        size = _doubled(old.shape[2], rows), _doubled(old.shape[4], length)
        self._table = self._tree.storage(*size).zero_()  # a masked NaN would still spoil a sum
        self._table[:, :, : old.shape[2], :, : old.shape[4]] = old
        self._split()

    def move(self, source: int, target: int, length: int) -> None:
        """Row `source` takes the place of row `target`."""
        self._table[:, :, target, :, :length] = self._table[:, :, source, :, :length]

    def copy(self, row: int, length: int, storage: Tensor) -> None:
        """Put a row's first tokens at the front of a node's storage."""
        storage[..., :length, :] = self._table[:, :, row : row + 1, :, :length]

    def _split(self) -> None:
        """By layer: `keys[layer]` is `[rows, kv_heads, length, dim]`."""
        self.keys, self.values = (part.unbind(0) for part in self._table.unbind(1))


def _doubled(size: int, wanted: int) -> int:
    size = max(size, 8)
    while size < wanted:
        size *= 2
    return size

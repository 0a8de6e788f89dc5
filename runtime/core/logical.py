"""Contexts apart from engines: token sequences that can be computed anywhere, any time.

    name 7 ──► [system prompt] ─┬─ [question] ─ [answer]  ◄── name 9
                                └─ [question]             ◄── name 8, and a call that runs

A sequence is a chain of nodes, each with its own tokens after its parent's. Equal sequences of one
salt are one node, whoever made them, so an engine computes them once. A node lives as long as it
has a name, a child or a call; `places` says on which engines it is, and what is in the last one of
those goes with it.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from parrotc.runtime.core.places import Place
from parrotc.runtime.engines.protocol import ContextId, EngineError, FillRequest
from parrotc.runtime.scheduling.prefixes import Chain
from parrotc.runtime.scheduling.tasks import PrefixNode

LONG = 16  # nodes of a chain: beyond that, those that nobody else needs are joined


class Node:
    """The tokens of `parent`, then `ids`. Starts with one holder: whoever asked for it."""

    __slots__ = (
        "asked", "digest", "hash", "holders", "ids", "is_dead", "length",
        "parent", "places", "prefix", "salt", "uses",
    )  # fmt: skip

    def __init__(self, parent: "Node | None", ids: tuple[int, ...], hash: blake2b, salt: str):
        self.parent = parent
        self.ids = ids
        self.length: int = (parent.length if parent else 0) + len(ids)
        self.hash = hash
        self.digest = hash.digest()
        self.salt = salt
        self.asked: FillRequest | None = None  # the last one, for what it says of the future
        self.is_dead = False  # see `Engine.free`
        self.uses = 0  # how often somebody went on from it, or asked for it again
        self.holders = 1
        self.places: dict[str, Place] = {}  # by the name of the engine
        self.prefix = self._prefix()

    def _prefix(self) -> PrefixNode:
        # with the length, since how many tokens a digest adds depends on where it was cut
        return PrefixNode((self.digest, len(self.ids)), len(self.ids))

    @property
    def is_common(self) -> bool:
        """Whether there may be others that begin with it."""
        return self.uses > 1 or (self.asked is not None and self.asked.shared)

    @property
    def is_computed(self) -> bool:
        """Whether it is on some engine, and on none only on its way there, after its parent."""
        return bool(self.places) and all(place.fill is None for place in self.places.values())

    def path(self) -> Iterator["Node"]:
        """This node and those above it, up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def chain(self) -> Chain:
        """What the scheduler is told of the prompt, from the root down."""
        nodes = [node.prefix for node in self.path() if node.ids]
        nodes.reverse()
        return tuple(nodes)

    def absorb(self, above: "Node") -> None:
        """Take over the tokens of the parent, which nobody but this node needs."""
        self.parent = above.parent
        self.ids = above.ids + self.ids
        self.prefix = self._prefix()


class Tree:
    """All nodes of a model and their names. `released` is told of each node that goes, which may
    still be on engines."""

    def __init__(
        self, limit: Callable[[], int], vocabulary: int, released: Callable[[Node], None]
    ) -> None:
        """`limit` gives the most tokens of one sequence; `vocabulary` counts what tokens there are,
        2**32 at most."""
        self.named: dict[ContextId, Node] = {}
        self._nodes: dict[bytes, Node] = {}
        self._limit = limit
        self._vocabulary = vocabulary
        self._released = released

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    @property
    def tokens(self) -> int:
        """Tokens of all nodes, each once."""
        return sum(len(node.ids) for node in self._nodes.values())

    def get(self, name: ContextId) -> Node:
        try:
            return self.named[name]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {name}") from None

    # --- making ---

    def fill(self, requests: Sequence[FillRequest]) -> list[Node]:
        """Make and name what is asked for, all or none. Raises `EngineError`."""
        self._check(requests)
        made = []
        for request in requests:
            parent = None if request.parent is None else self.named[request.parent]
            node = self.grown(parent, request.ids, request.salt)
            node.asked, node.is_dead = request, False
            self.named[request.context] = node
            made.append(node)
        return made

    def _check(self, requests: Sequence[FillRequest]) -> None:
        lengths: dict[ContextId, int] = {}
        for request in requests:
            if request.context in self.named or request.context in lengths:
                raise EngineError("invalid", f"context {request.context} exists already")
            if request.ids and not 0 <= min(request.ids) <= max(request.ids) < self._vocabulary:
                raise EngineError("invalid", "some ids are no tokens of this model")
            length = len(request.ids)
            if request.parent is not None:
                above = lengths.get(request.parent)
                length += self.get(request.parent).length if above is None else above
            lengths[request.context] = length
        self.check_length(max(lengths.values(), default=0))

    def check_length(self, length: int) -> None:
        """Raises `EngineError` where no engine can read so many tokens."""
        limit = self._limit()
        if length > limit:
            raise EngineError(
                "context_length", f"{length:,} tokens are more than the model's {limit:,}"
            )

    def grown(self, parent: Node | None, ids: Sequence[int], salt: str = "") -> Node:
        """The node of `ids` after `parent`, held for the caller."""
        hash = parent.hash.copy() if parent else blake2b(_seed(salt), digest_size=16)
        hash.update(array("I", ids).tobytes())
        known = self._nodes.get(hash.digest())
        if parent is not None:
            parent.uses += 1
        if known is not None:
            known.uses += 1
            known.holders += 1
            return known
        node = Node(parent, tuple(ids), hash, parent.salt if parent else salt)
        if parent is not None:
            parent.holders += 1
        self._nodes[node.digest] = node
        return node

    # --- letting go ---

    def free(self, names: Sequence[ContextId], dead: bool = False) -> None:
        """Drop names. Raises `EngineError` at the first that is none, the ones before are gone."""
        for name in names:
            node = self.get(name)
            node.is_dead = dead
            del self.named[name]
            self.drop(node)

    def drop(self, node: Node) -> None:
        """One holder less; what nobody holds goes, and so on up the tree."""
        above: Node | None = node
        while above is not None:
            above.holders -= 1
            if above.holders:
                return
            del self._nodes[above.digest]
            self._released(above)
            above = above.parent

    def shorten(self, node: Node) -> bool:
        """Join the nodes of a long chain that nobody needs apart, so that talks of any length stay
        quick. Whether any was.

        Only above what is on some engine, since it is then not computed again there; and not the
        first ones, which others may come to share.
        """
        path = list(node.path())
        if len(path) <= LONG:
            return False
        kept, joined = path[0], False
        for above in path[1 : -LONG // 4]:
            if above.holders == 1 and kept.is_computed:
                kept.absorb(above)
                del self._nodes[above.digest]
                self._released(above)
                joined = True
            else:
                kept = above
        return joined


def _seed(salt: str) -> bytes:
    """Of a fixed length, so that no salt can look like another one and some tokens."""
    return blake2b(salt.encode()).digest()

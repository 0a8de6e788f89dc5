"""Token sequences by name. What has been computed of one is in its table of blocks.

A `Sequence` is tokens first: its own after those of its parent. Its table may be taken away at any
time and be computed again, so memory is never what keeps a sequence alive.

    tokens    0 ───────────── computed ───────────── end
    table     [full][full][partly full][to be written]
               └─ shared with others ─┘ written only by a sequence that alone holds it

In any table every block but the last is full, and block i holds the tokens from i · block on.
"""

from itertools import chain

from torch import Tensor

from parrotc.runtime.engines.embedded.prefixes import UNKNOWN, Digest, Outlook, Use, digest, seed
from parrotc.runtime.engines.protocol import ContextId, EngineError

Ids = tuple[int, ...]


class Sequence:
    """The tokens of `parent`, then `ids`. Compared by identity.

    `hidden` is the model's state after the last token, if somebody kept it: with that, a next token
    can be drawn without computing anything.
    """

    __slots__ = (
        "_digests", "computed", "hidden", "ids", "outlook", "parent", "salt", "start", "table",
        "use",
    )  # fmt: skip

    def __init__(
        self,
        parent: "Sequence | None",
        ids: Ids = (),
        *,
        salt: str = "",
        use: Use = UNKNOWN,
    ) -> None:
        self.parent = parent
        self.ids = list(ids)
        self.start: int = parent.end if parent else 0
        self.salt: str = parent.salt if parent else salt
        self.use = use
        self.outlook = Outlook()
        self.table: list[int] = []
        self.computed = 0  # so many tokens, from the first on, are in the table
        self.hidden: Tensor | None = None
        self._digests: list[Digest] = []

    @property
    def end(self) -> int:
        """How many tokens it has."""
        return self.start + len(self.ids)

    @property
    def missing(self) -> int:
        """How many of them are not computed."""
        return self.end - self.computed

    def tokens(self, first: int, last: int) -> list[int]:
        """Its tokens at the positions `first` … `last` - 1."""
        parts: list[list[int]] = []
        part: Sequence | None = self
        while part is not None and first < last:
            if part.start < last:
                begin = max(first, part.start)
                parts.append(part.ids[begin - part.start : last - part.start])
                last = begin
            part = part.parent
        return parts[0] if len(parts) == 1 else list(chain.from_iterable(reversed(parts)))

    def digests(self, block: int) -> list[Digest]:
        """What names its prefixes of 1, 2, … full blocks."""
        found, above = self._digests, self.parent
        while not found and above is not None:
            found += above._digests
            above = above.parent
        while len(found) < self.end // block:
            first = len(found) * block
            before = found[-1] if found else seed(self.salt)
            found.append(digest(before, self.tokens(first, first + block)))
        return found

    def cut(self, end: int, block: int) -> None:
        """Forget the own tokens from position `end` on; the table is then cut by `settle`."""
        del self.ids[end - self.start :], self._digests[end // block :]


class Contexts:
    """The sequences that callers have names for."""

    def __init__(self) -> None:
        self.named: dict[ContextId, Sequence] = {}

    def get(self, context: ContextId) -> Sequence:
        try:
            return self.named[context]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {context}") from None

    @property
    def tokens(self) -> int:
        """How many tokens the named sequences have, those of a common parent counted once."""
        seen: set[Sequence] = set()
        for sequence in self.named.values():
            above: Sequence | None = sequence
            while above is not None and above not in seen:
                seen.add(above)
                above = above.parent
        return sum(len(sequence.ids) for sequence in seen)

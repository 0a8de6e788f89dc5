"""What prompts begin with, as a tree of token ids: the prefixes of a plan for one engine.

    @p0 on @small = ids[1, 7, 8]            1 7 ─┬─ 8       @p0
    @p1 on @large = ids[1, 7, 9]     ==>         └─ 9       @p1

The compiler shares what the prompts of one model begin with. Which models one engine serves is only
known when a plan runs: here theirs share too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Start:
    """The tokens of `parent`, then `ids`. Among the children no two begin with the same token.

    `next_use` is the least that the plan says of a prefix that ends here.
    """

    ids: tuple[int, ...] = ()
    parent: "Start | None" = None
    children: dict[int, "Start"] = field(default_factory=dict)
    next_use: float | None = None

    def then(self, ids: tuple[int, ...]) -> "Start":
        """The place after `ids` below this one, made if it is not there."""
        place = self
        while ids:
            child = place.children.get(ids[0])
            if child is None:
                child = place.children[ids[0]] = Start(ids, place)
            most = min(len(ids), len(child.ids))
            alike = next((n for n in range(most) if ids[n] != child.ids[n]), most)
            place, ids = child._divided(alike), ids[alike:]
        return place

    def _divided(self, length: int) -> "Start":
        """The place after the first `length` of its own ids, one above it unless that is all."""
        if length == len(self.ids):
            return self
        assert self.parent is not None
        upper = Start(self.ids[:length], self.parent, {self.ids[length]: self})
        self.parent.children[self.ids[0]] = upper
        self.parent, self.ids = upper, self.ids[length:]
        return upper

    def expect(self, next_use: float | None) -> None:
        """Note when it is used next."""
        told = [use for use in (self.next_use, next_use) if use is not None]
        self.next_use = min(told, default=None)

    def below(self) -> Iterator["Start"]:
        """All the places below this one, parents first."""
        waiting = list(self.children.values())
        while waiting:
            place = waiting.pop()
            yield place
            waiting += place.children.values()

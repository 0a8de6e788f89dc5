"""How many and how much: what one tenant or one session may have, so that it exhausts no other."""

from collections import Counter

from parrotc.runtime.core.errors import Busy, TooLarge


class Allowance:
    """At most `most` of something for each owner. `what` says of what, for the one refused."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: Counter[str] = Counter()

    def take(self, owner: str) -> None:
        """Raises `Busy`, and then nothing is taken."""
        if self._taken[owner] >= self._most:
            raise Busy(f"{self._most:,} {self._what} already", "try again when some have ended")
        self._taken[owner] += 1

    def give(self, owner: str) -> None:
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]

    def total(self) -> int:
        return self._taken.total()


def check_size(what: str, size: int, most: int) -> None:
    """Raises `TooLarge`."""
    if size > most:
        raise TooLarge(f"{what} has {size:,} characters, and {most:,} are allowed")

"""The reference engine's model: the next token is a hash of the exact tokens before it.

Any mix-up of contexts, any lost or doubled token changes everything generated after it; that is
what makes it the oracle of every pass and schedule. Imports nothing of ours.
"""

from collections.abc import Sequence
from hashlib import blake2b


def next_hash(ids: Sequence[int], key: int = 0) -> int:
    """64 bits that depend on every id, on their order, and on the draw key."""
    return extend(start(key), ids)


def start(key: int = 0) -> int:
    return _mix(0x9E3779B97F4A7C15, key)


def extend(state: int, ids: Sequence[int]) -> int:
    """The hash after more ids: `extend(extend(s, a), b) == extend(s, a + b)`."""
    for token in ids:
        state = _mix(state, token)
    return state


def draw_key(seed: int, site: str, path: Sequence[int]) -> int:
    """64 bits for one generation: run seed, call site, iteration and attempt indices."""
    text = f"{seed}\0{site}\0{','.join(map(str, path))}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


_MASK = (1 << 64) - 1


def _mix(state: int, value: int) -> int:
    """splitmix64 of the state and one more value."""
    x = (state ^ (value + 0x9E3779B97F4A7C15)) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return (x ^ (x >> 31)) & _MASK

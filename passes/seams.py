"""What ends one message and what begins the next, where a template writes both as one text.

A *seam* is the text between two contents. When a message may follow several others, its seams
differ, and each has to be cut in two: `ends[before] + begins[after]` is the seam, for every pair.

    (start, user): "<s><user>"   (user, user): "</user><user>"
        ⇒   ends: start "<s>", user "</user>"      begins: user "<user>"

Seams are sequences of units (a special token, or one character of other text), so no special token
is cut in two.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile

from parrotc.ir.ops import Value

Units = tuple[str, ...]
Seams = dict[tuple[Value, Value], Units]  # what stands between two messages
Halves = dict[Value, Units]


def cut(seams: Seams) -> tuple[Halves, Halves] | None:
    """What ends and what begins each message, as much as possible of it beginning one.

    None if there is no such cut. Linear in the seams.

    Where one end is chosen, everything that shares a seam with it follows: lengths are known up to
    one shift for each connected part, and the shift is bounded by what the seams have in common.
    """
    after: dict[Value, list[Value]] = defaultdict(list)
    before: dict[Value, list[Value]] = defaultdict(list)
    for first, second in seams:
        after[first].append(second)
        before[second].append(first)
    ends: Halves = {}
    begins: Halves = {}
    for start in after:
        if start in ends:
            continue
        lengths = _lengths(start, seams, after, before)
        if lengths is None:
            return None
        left, right = lengths
        shift = _shift(left, right, seams, after, before)
        if shift is None:
            return None
        for one, length in left.items():
            ends[one] = seams[one, after[one][0]][: length + shift]
        for one, length in right.items():
            seam = seams[before[one][0], one]
            begins[one] = seam[len(seam) - length + shift :]
    return ends, begins


_Lengths = dict[Value, int]
_Others = dict[Value, list[Value]]


def _lengths(
    start: Value, seams: Seams, after: _Others, before: _Others
) -> tuple[_Lengths, _Lengths] | None:
    """Lengths of ends and of beginnings if `start` ended with nothing; None if they clash."""
    left: _Lengths = {start: 0}
    right: _Lengths = {}
    waiting = [start]
    while waiting:
        first = waiting.pop()
        for second in after[first]:
            length = len(seams[first, second]) - left[first]
            if right.setdefault(second, length) != length:
                return None
            for other in before[second]:
                if other not in left:
                    left[other] = len(seams[other, second]) - length
                    waiting.append(other)
    return left, right


def _shift(
    left: _Lengths, right: _Lengths, seams: Seams, after: _Others, before: _Others
) -> int | None:
    """The smallest length to add to every end (and take from every beginning), if there is one."""
    lower, upper = 0, len(seams[next(iter(left)), after[next(iter(left))][0]])
    for one, length in left.items():
        common = _common([seams[one, second] for second in after[one]])
        lower, upper = max(lower, -length), min(upper, common - length)
    for one, length in right.items():
        common = _common([seams[first, one][::-1] for first in before[one]])
        lower, upper = max(lower, length - common), min(upper, length)
    return lower if lower <= upper else None


def _common(texts: Sequence[Units]) -> int:
    """How many units all begin with."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))

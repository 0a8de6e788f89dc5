"""Collecting findings: one cause gives one error, and a misspelt name gets one suggestion."""

from collections.abc import Iterable

from parrotc.ir.diagnostic import Diagnostic, Label
from parrotc.ir.source import Span


class Report:
    """The findings of one check, in the order they were made."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def add(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        labels: Iterable[Label] = (),
        note: str = "",
        help: str = "",
    ) -> None:
        notes = (note,) if note else ()
        finding = Diagnostic(code, message, span, label, tuple(labels), notes, help)
        if finding not in self.found[-1:]:
            self.found.append(finding)

    def mark(self) -> int:
        """A point to come back to with `forget`."""
        return len(self.found)

    def forget(self, mark: int) -> None:
        """Drop what was found since `mark`: it came from a trial that is run again."""
        del self.found[mark:]


_MOST_NAMES = 2_000  # a suggestion is not worth more comparisons than this


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The one candidate that `name` is most likely a misspelling of, if any is close enough.

    Close is an edit distance (optimal string alignment) of at most a third of the name's length.
    """
    limit = len(name) // 3
    best: tuple[int, str] | None = None
    for candidate in sorted(set(candidates))[:_MOST_NAMES]:
        if candidate == name or abs(len(candidate) - len(name)) > limit:
            continue
        found = (_distance(name.lower(), candidate.lower()), candidate)
        if found[0] <= limit and (best is None or found < best):
            best = found
    return best[1] if best else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``did you mean `x`?``, or nothing."""
    near = nearest(name, candidates)
    return f"did you mean `{near}`?" if near else ""


def _distance(a: str, b: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`."""
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]

"""Counts that depend on inputs: polynomials over sizes, such as `|parts|·(31 + |part|) + 17`.

A size is a count of list items or of a text's tokens, written `|name|` and at least one unless a
value is given for it. `Most` keeps several polynomials of which the largest counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

Monomial = tuple[str, ...]  # sizes, sorted; the empty one is the constant


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A polynomial: coefficients by monomial, none of them zero, in a fixed order."""

    terms: tuple[tuple[Monomial, float], ...] = ()

    def __add__(self, other: "Symbolic | float") -> "Symbolic":
        return _normal([*self.terms, *lift(other).terms])

    def __mul__(self, other: "Symbolic | float") -> "Symbolic":
        pairs = product(self.terms, lift(other).terms)
        return _normal((tuple(sorted(m + n)), a * b) for (m, a), (n, b) in pairs)

    def __sub__(self, other: "Symbolic | float") -> "Symbolic":
        return self + lift(other) * -1

    @property
    def constant(self) -> float | None:
        """Its value, if it depends on no size."""
        if not self.terms:
            return 0
        ((monomial, coefficient), *rest) = self.terms
        return coefficient if not monomial and not rest else None

    def sizes(self) -> set[str]:
        return {size for monomial, _ in self.terms for size in monomial}

    def at(self, given: Mapping[str, float]) -> "Symbolic":
        """With numbers in place of the sizes that are given."""
        terms = []
        for monomial, coefficient in self.terms:
            for size in monomial:
                coefficient *= given.get(size, 1)
            terms.append((tuple(size for size in monomial if size not in given), coefficient))
        return _normal(terms)

    def covers(self, other: "Symbolic") -> bool:
        """Whether this is at least `other` whatever the sizes are, each being one or more.

        With every size written as one plus a rest, the difference has no negative coefficient.
        That is enough, not necessary: False may mean that nothing is known.
        """
        mine, its = self.constant, other.constant
        if mine is not None and its is not None:  # nearly always, and a hundred times as fast
            return mine >= its
        shifted: list[tuple[Monomial, float]] = []
        for monomial, coefficient in (self - other).terms:
            for kept in product((False, True), repeat=len(monomial)):
                rest = tuple(size for size, keep in zip(monomial, kept, strict=True) if keep)
                shifted.append((rest, coefficient))
        return all(coefficient >= 0 for _, coefficient in _normal(shifted).terms)

    def __str__(self) -> str:
        return " + ".join(_term(*term) for term in self.terms).replace("+ -", "- ") or "0"


@dataclass(frozen=True, slots=True)
class Most:
    """The largest of some polynomials, none of which covers another."""

    options: tuple[Symbolic, ...] = (Symbolic(),)

    def __or__(self, other: "Most") -> "Most":
        if self.options == other.options:
            return self
        kept: list[Symbolic] = []
        for option in (*self.options, *other.options):
            if not any(one.covers(option) for one in kept):
                kept = [one for one in kept if not option.covers(one)] + [option]
        return Most(tuple(kept))

    def __add__(self, other: "Symbolic | float") -> "Most":
        return most(option + other for option in self.options)

    def plus(self, other: "Most") -> "Most":
        return most(a + b for a, b in product(self.options, other.options))

    def __mul__(self, other: "Symbolic | float") -> "Most":
        return most(option * other for option in self.options)

    def at(self, given: Mapping[str, float]) -> "Most":
        return most(option.at(given) for option in self.options)

    @property
    def constant(self) -> float | None:
        return self.options[0].constant if len(self.options) == 1 else None

    def hull(self) -> Symbolic:
        """One polynomial that covers all of them: of each term the largest coefficient."""
        found = [dict(option.terms) for option in self.options]
        monomials = {monomial for terms in found for monomial in terms}
        return _normal((m, max(terms.get(m, 0) for terms in found)) for m in monomials)

    def __str__(self) -> str:
        texts = [str(option) for option in self.options]
        return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def lift(value: Symbolic | float) -> Symbolic:
    return value if isinstance(value, Symbolic) else _normal([((), value)])


def size(name: str) -> Symbolic:
    """The unknown size `|name|`."""
    return Symbolic((((name,), 1),))


def added(counts: Iterable[Symbolic]) -> Symbolic:
    """Their sum, in one go: adding one by one would sort a growing list again and again."""
    return _normal(term for count in counts for term in count.terms)


def most(options: Iterable[Symbolic]) -> Most:
    result: Most | None = None
    for option in options:
        result = Most((option,)) if result is None else result | Most((option,))
    return result or Most()


def _normal(terms: Iterable[tuple[Monomial, float]]) -> Symbolic:
    """Like terms added; highest degree first, then by name."""
    total: dict[Monomial, float] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = [(m, c) for m, c in total.items() if c]
    return Symbolic(tuple(sorted(kept, key=lambda term: (-len(term[0]), term[0]))))


def _term(monomial: Monomial, coefficient: float) -> str:
    number = f"{coefficient:g}" if coefficient < 1e6 else f"{coefficient:.0f}"
    sizes = "·".join(f"|{size}|" for size in monomial)
    if not sizes:
        return number
    return sizes if coefficient == 1 else f"{number}·{sizes}"

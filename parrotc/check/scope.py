"""Local names of a flow, a prompt or a test: what each means at this point of the text.

A name that is bound again gets a new `LocalSymbol`. What an `if` arm or a loop body binds is kept
apart until the arms are merged: a name bound on every path goes on with a common type, any other
becomes `Unusable`, which remembers why for the error at its first use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from parrotc.check.program import LocalSymbol
from parrotc.check.rules import describe, join
from parrotc.ir.diagnostic import Label
from parrotc.ir.source import Span
from parrotc.ir.types import Type


@dataclass(frozen=True, eq=False)
class Unusable:
    """A name that may have no value here, or values of unrelated types."""

    why: str
    labels: tuple[Label, ...]
    help: str = "bind it before the branch or loop"


Bound = LocalSymbol | Unusable


@dataclass
class Scope:
    """Names bound here, in front of those of `outer`. A scope never changes its outer one.

    `known` are types that a condition has told of names with fields: `doc.part` is no `None`.
    """

    outer: "Scope | None" = None
    own: dict[str, Bound] = field(default_factory=dict)
    known: dict[str, Type] = field(default_factory=dict)

    def inner(self) -> "Scope":
        return Scope(self)

    def lookup(self, name: str) -> Bound | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.own:
                return scope.own[name]
            scope = scope.outer
        return None

    def known_type(self, path: str) -> Type | None:
        """What is known of `doc.part`, unless `doc` was bound again since."""
        root = path.split(".")[0]
        scope: Scope | None = self
        while scope is not None:
            if path in scope.known:
                return scope.known[path]
            if root in scope.own:
                return None
            scope = scope.outer
        return None

    def bind(self, symbol: LocalSymbol) -> None:
        self.own[symbol.name] = symbol
        for path in [path for path in self.known if path.startswith(f"{symbol.name}.")]:
            del self.known[path]

    def learn(self, path: str, type_: Type) -> None:
        """From here on, a name or a name with fields has the narrower type."""
        if "." in path:
            self.known[path] = type_
            return
        before = self.lookup(path)
        if isinstance(before, LocalSymbol):
            self.bind(LocalSymbol(name=path, span=before.span, type=type_))

    def names(self) -> Iterator[str]:
        yield from self.own
        if self.outer is not None:
            yield from self.outer.names()

    def merge(self, arms: Sequence["Scope"]) -> None:
        """Bind what every arm of an `if` or `match` leaves behind; `arms` are inner scopes."""
        names = dict.fromkeys(name for arm in arms for name in arm.own)
        for name in names:
            self.own[name] = _merged(name, [arm.lookup(name) for arm in arms])

    def close_loop(self, body: "Scope") -> None:
        """Names that only a loop's body binds have no value after it: it may run zero times."""
        for name, bound in body.own.items():
            if self.lookup(name) is None and isinstance(bound, LocalSymbol):
                why = "has a value only inside the loop, which may run zero times"
                self.own[name] = Unusable(why, _places([bound]))


def _merged(name: str, bounds: Sequence[Bound | None]) -> Bound:
    symbols = [bound for bound in bounds if isinstance(bound, LocalSymbol)]
    if len(symbols) < len(bounds):
        given = next((bound for bound in bounds if isinstance(bound, Unusable)), None)
        return given or Unusable("has no value on every path to here", _places(symbols))
    first = symbols[0]
    type_ = first.type
    for symbol in symbols[1:]:
        joined = join(type_, symbol.type)
        if joined is None:
            why = f"is `{describe(type_)}` on one path and `{describe(symbol.type)}` on another"
            return Unusable(why, _places([first, symbol]), "use two names")
        type_ = joined
    return LocalSymbol(name=name, span=symbols[-1].span, type=type_)


def _places(symbols: Sequence[LocalSymbol]) -> tuple[Label, ...]:
    spans: list[Span] = list(dict.fromkeys(s.span for s in symbols if s.span is not None))
    return tuple(Label(span, "bound here") for span in spans[:2])

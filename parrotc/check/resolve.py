"""Names with dots: what `Topic.TECH`, `text.chunk` and `pkg.Doc` stand for."""

from collections.abc import Iterator

from parrotc.check.program import ConstSymbol, Symbol, TypeSymbol
from parrotc.check.report import did_you_mean
from parrotc.check.session import BrokenSymbol, File, NamespaceSymbol, Session
from parrotc.ir.source import Span
from parrotc.ir.types import Enum


def dotted_symbol(session: Session, file: File, dotted: str) -> Symbol | None:
    """The meaning of a name as it stands in a type or a decorator; None if it has none."""
    first, *rest = dotted.split(".")
    symbol = session.lookup(file, first)
    for name in rest:
        if isinstance(symbol, BrokenSymbol):
            return symbol
        if not isinstance(symbol, NamespaceSymbol):
            return None
        symbol = member(session, symbol, name)
    return symbol


def member(session: Session, namespace: NamespaceSymbol, name: str) -> Symbol | None:
    """What an imported module calls `name`."""
    if name in namespace.inner:
        return namespace.inner[name]
    if namespace.file is None:
        return None
    if name not in namespace.file.declared and name not in namespace.file.lost:
        return None  # what a module imports is its own business
    return session.lookup(namespace.file, name)


def member_names(namespace: NamespaceSymbol) -> set[str]:
    declared = namespace.file.declared if namespace.file else {}
    return {*namespace.inner, *declared}


def dotted_names(file: File) -> Iterator[str]:
    """What a file can write as `module.name`, for suggestions."""
    for name, symbol in file.imported.items():
        if isinstance(symbol, NamespaceSymbol):
            yield from (f"{name}.{inner}" for inner in member_names(symbol))


def enum_member(session: Session, symbol: TypeSymbol, name: str, span: Span) -> Symbol:
    """The constant `Topic.TECH`; an unknown member is reported."""
    enum = symbol.type
    assert isinstance(enum, Enum)
    names = [m.name for m in enum.members]
    if name in names:
        return ConstSymbol(name=f"{symbol.name}.{name}", span=symbol.span, type=enum, value=name)
    message = f"the enum `{enum.name}` has no member `{name}`"
    session.report.add("E0313", message, span, help=did_you_mean(name, names))
    return BrokenSymbol(name=name, span=None)

"""What one check shares: the findings, the tables it fills, and the files of the program."""

from collections.abc import Callable
from dataclasses import dataclass, field

from parrotc.check.program import (
    BuiltinSymbol,
    ExternSymbol,
    GenInfo,
    Policy,
    Symbol,
)
from parrotc.check.report import Report, did_you_mean
from parrotc.ir.diagnostic import Label
from parrotc.ir.source import Span
from parrotc.ir.types import Json, Type
from parrotc.syntax import tree
from parrotc.syntax.tree import Decl, Tree


@dataclass(frozen=True, eq=False, kw_only=True)
class BrokenSymbol(Symbol):
    """A name whose declaration is already reported; using it reports nothing more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class NamespaceSymbol(Symbol):
    """What `import a.b` binds: `a` holds the namespace `b`, and `b` the declarations of a file."""

    file: "File | None" = None
    inner: dict[str, "NamespaceSymbol"] = field(default_factory=dict)


@dataclass(eq=False)
class File:
    """One `.pfn` file: its tree, what it declares and what it imports.

    `id` is its dotted module name, empty for the root file. `lost` are the names of declarations
    that did not parse: they are in the text, but not in the tree.
    """

    id: str
    tree: Tree
    declared: dict[str, Decl] = field(default_factory=dict)
    imported: dict[str, Symbol] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()

    def names(self) -> set[str]:
        return {*self.declared, *self.imported}

    def qualified(self, name: str) -> str:
        """The program-wide name of something declared here."""
        return f"{self.id}.{name}" if self.id else name


@dataclass(eq=False)
class Session:
    """The state of one check. `declare` gives the symbol of a declaration, at its first use."""

    report: Report
    declare: Callable[["Session", File, tree.Decl], Symbol]
    types: dict[tree.Node, Type] = field(default_factory=dict)
    names: dict[tree.Node, Symbol] = field(default_factory=dict)
    gens: dict[tree.Gen, GenInfo] = field(default_factory=dict)
    implicit: dict[tree.PfuncDecl, GenInfo] = field(default_factory=dict)
    policies: dict[tree.With, Policy] = field(default_factory=dict)
    embedded: dict[str, str] = field(default_factory=dict)
    folded: dict[tree.Node, Json] = field(default_factory=dict)  # texts of embedded files
    symbols: dict[tree.Decl, Symbol] = field(default_factory=dict)
    open: list[tree.Decl] = field(default_factory=list)  # being declared, outermost first
    instances: dict[str, dict[tuple[Type, ...], ExternSymbol]] = field(default_factory=dict)

    def symbol(self, file: File, decl: tree.Decl) -> Symbol:
        """What a declaration means. A declaration that needs itself to be known is an error."""
        if decl in self.symbols:
            return self.symbols[decl]
        if decl in self.open:
            return self._circular(decl)
        self.open.append(decl)
        symbol = self.declare(self, file, decl)
        self.open.pop()
        return self.symbols.setdefault(decl, symbol)

    def lookup(self, file: File, name: str) -> Symbol | None:
        """The meaning of a name at the top of a file; None if it has none."""
        if name in file.declared:
            return self.symbol(file, file.declared[name])
        if name in file.imported:
            return file.imported[name]
        if name in file.lost:
            return BrokenSymbol(name=name, span=None)
        return None

    def unknown(self, kind: str, name: str, span: Span, known: set[str]) -> BrokenSymbol:
        """Report a name that means nothing."""
        self.report.add(
            "E0301", f"no {kind} is called `{name}`", span, help=did_you_mean(name, known)
        )
        return BrokenSymbol(name=name, span=None)

    def _circular(self, decl: tree.Decl) -> Symbol:
        circle = self.open[self.open.index(decl) :]
        message, note = f"`{decl.name}` is declared in terms of itself", ""
        if isinstance(decl, tree.ClassDecl):
            message = f"the class `{decl.name}` contains itself"
            note = "what a model generates is bounded, so classes do not nest in themselves"
        labels = [Label(other.name_span, "through this") for other in circle[1:]]
        self.report.add("E0308", message, decl.name_span, labels=labels, note=note)
        for other in circle:
            self.symbols[other] = BrokenSymbol(name=other.name, span=other.name_span)
        return self.symbols[decl]


def builtin(name: str) -> BuiltinSymbol:
    return BuiltinSymbol(name=name, span=None)

"""Stage 2: names, types, policies and bounds. A tree becomes a `Program`, or its mistakes are told.

Files are read first, dependencies before those that need them; then every declaration is given a
symbol, then every body is checked, each apart from the others, so that one mistake hides no other.
"""

from parrotc.check.declarations import declare
from parrotc.check.flows import check_flow, check_recursion
from parrotc.check.imports import Imports
from parrotc.check.lints import lint
from parrotc.check.loader import Loader
from parrotc.check.program import ExternSymbol, FlowSymbol, ModelSymbol, PfuncSymbol, Program
from parrotc.check.prompts import check_prompt
from parrotc.check.report import Report
from parrotc.check.session import File, Session
from parrotc.check.testing import check_test
from parrotc.frontends import worded
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.syntax import tree


def check(root: Source, load: Loader) -> tuple[Program, tuple[Diagnostic, ...]]:
    """The program of a file and everything it imports, and all that is wrong with it.

    `load` finds the source of an import (see `loader.py`). The program is complete only if no
    diagnostic is an error.
    """
    session = Session(Report(), declare)
    imports = Imports(session, load)
    file = imports.read(root)
    files = tuple(imports.files.values())
    _check_bodies(session, files)
    lint(session, files)
    return _program(session, file, files), _ordered(worded(session.report.found), files)


def _check_bodies(session: Session, files: tuple[File, ...]) -> None:
    calls: dict[FlowSymbol, list[tuple[FlowSymbol, Span]]] = {}
    for file in files:
        for decl in file.tree.items:
            if isinstance(decl, tree.TestDecl):
                check_test(session, file, decl)
            elif isinstance(decl, tree.Decl):
                symbol = session.symbol(file, decl)
                if isinstance(symbol, PfuncSymbol):
                    check_prompt(session, file, symbol)
                elif isinstance(symbol, FlowSymbol):
                    calls[symbol] = check_flow(session, file, symbol)
    check_recursion(session, calls)


def _program(session: Session, root: File, files: tuple[File, ...]) -> Program:
    symbols = {name: session.symbols[decl] for name, decl in root.declared.items()}
    return Program(
        root=root.tree,
        trees=tuple(file.tree for file in files),
        exports={
            name: symbol
            for name, symbol in symbols.items()
            if isinstance(symbol, FlowSymbol | PfuncSymbol)
        },
        natives=tuple(
            symbol
            for symbol in symbols.values()
            if isinstance(symbol, ExternSymbol) and not symbol.type_params
        ),
        models=tuple(s for s in session.symbols.values() if isinstance(s, ModelSymbol)),
        types=session.types,
        names=session.names,
        gens=session.gens,
        implicit_gens=session.implicit,
        policies=session.policies,
        embedded=tuple(sorted(session.embedded.items())),
    )


def _ordered(found: list[Diagnostic], files: tuple[File, ...]) -> tuple[Diagnostic, ...]:
    """In the order of the files as they were read, and of the text in each."""
    order = {file.tree.source: index for index, file in enumerate(files)}

    def place(diagnostic: Diagnostic) -> tuple[int, int]:
        span = diagnostic.span
        return (order.get(span.source, -1), span.start) if span else (-1, 0)

    return tuple(sorted(dict.fromkeys(found), key=place))

"""The two front ends behind one function: `.pfn` text and Python files both become a `Tree`."""

from collections.abc import Iterable

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source
from parrotc.syntax.parse import parse
from parrotc.syntax.tree import Tree


def read_tree(source: Source, module: str = "") -> tuple[Tree, tuple[Diagnostic, ...]]:
    """The tree of a file and what is wrong with it; declarations with errors are left out.

    `module` is the dotted name of an imported file, empty for the root file of a program.
    """
    if not _is_python(source):
        return parse(source)
    from parrotc.python.translate import translate  # `.pfn` programs do without it

    return translate(source, module)


def worded(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Findings as they are said to whoever wrote the file: in Python what is about Python."""
    return [_in_python(one) if one.span and _is_python(one.span.source) else one for one in found]


def _in_python(finding: Diagnostic) -> Diagnostic:
    from parrotc.python.wording import in_python

    return in_python(finding)


def _is_python(source: Source) -> bool:
    return source.name.endswith(".py")

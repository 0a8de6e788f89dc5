"""Source text to tree: the file is cut into declarations and each is parsed alone.

A letter or `@` in the first column begins a declaration, always: no text or block can reach there.
So a mistake costs the declaration it is in and no other, and several broken declarations give one
error each.

    parse(Source("app.pfn", 'const A = "x"\\nflw b() -> str:\\n'))
    ==>  a Tree with `A`, and one Diagnostic: E0101, did you mean `flow`?
"""

import re
from dataclasses import replace
from typing import NamedTuple

import lark

from parrotc.ir.collector import paused
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.syntax import errors, heads, words
from parrotc.syntax.build import TreeBuilder
from parrotc.syntax.lint import lint
from parrotc.syntax.problem import Problem
from parrotc.syntax.scan import Masked, scan
from parrotc.syntax.tables import BadDedent, parser
from parrotc.syntax.tree import Decl, Gen, Import, Show, Tree


class Chunk(NamedTuple):
    """The range of one declaration; `head` is its first line that is no decorator."""

    start: int
    head: int
    end: int


def parse(source: Source) -> tuple[Tree, tuple[Diagnostic, ...]]:
    """The tree of a file and what is wrong with it; declarations with errors are left out."""
    with paused():
        return _parse(source)


def _parse(source: Source) -> tuple[Tree, tuple[Diagnostic, ...]]:
    items: list[Import | Decl] = []
    found: list[Diagnostic] = []
    chunks = cut(source.text)
    stray = heads.outside(source, chunks[0].start if chunks else len(source.text))
    if stray:
        found.append(stray)
    runs_on = False
    for chunk in chunks:
        if runs_on and not words.is_declaration(source.text, chunk.head):
            continue  # part of what has been reported: the text of an unclosed block, say
        try:
            items.append(_item(source, chunk))
            runs_on = False
        except Problem as mistake:
            found.append(mistake.diagnostic)
            runs_on = mistake.diagnostic.code in heads.RUNS_ON
    if not chunks and not found:
        found.append(heads.nothing_declared(source))
    tree = Tree(source=source, items=tuple(items))
    return tree, (*found, *lint(tree))


_START = re.compile(r"(?:^|(?<=\A\ufeff))(?=[^\W\d]|@)", re.MULTILINE)


def cut(text: str) -> list[Chunk]:
    """Where each declaration begins and ends. Decorators belong to what follows them."""
    heads = [found.start() for found in _START.finditer(text)]
    chunks: list[Chunk] = []
    start = None
    for head, end in zip(heads, [*heads[1:], len(text)], strict=False):
        start = head if start is None else start
        if text[head] != "@" or end == len(text):
            chunks.append(Chunk(start, head, end))
            start = None
    return chunks


def _item(source: Source, chunk: Chunk) -> Import | Decl:
    heads.check_head(source, chunk.start, chunk.head)
    masked = scan(source, chunk.start, chunk.end)
    heads.check_tabs(masked)
    parsed = _parsed(replace(masked, text=masked.text.rstrip() + "\n"), "item")
    return TreeBuilder(masked, _hole).item(parsed)


def hole(source: Source, start: int, end: int) -> Show | Gen:
    """Parse the inside `[start, end)` of a hole; the braces are part of its span."""
    masked = scan(source, start, end, inside=True)
    heads.check_hole(masked)
    node = TreeBuilder(masked, _hole).node(_parsed(masked, "hole"))
    assert isinstance(node, Show | Gen)
    return replace(node, span=Span(source, start - 2, end + 2))


def _hole(outer: Masked, start: int, end: int) -> Show | Gen:
    return hole(outer.source, start, end)


def _parsed(masked: Masked, start: str) -> lark.Tree[lark.Token]:
    try:
        return parser().parse(masked.text, start=start)
    except lark.UnexpectedInput as mistake:
        raise errors.explain(masked, mistake) from None
    except BadDedent as mistake:
        raise errors.bad_dedent(masked, mistake.at) from None

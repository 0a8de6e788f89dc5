"""Warnings about the text of prompts that need nothing but the tree.

user "Question: "            W0207: a model sees the space, a reader does not
"Answer: {{gen}}"            W0208: most tokenizers put a space into the token that follows it
"""

import re
from collections.abc import Iterator
from itertools import zip_longest

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Span
from parrotc.syntax.tree import (
    Gen,
    NamedType,
    Node,
    OptionalType,
    PfuncDecl,
    Template,
    TextPart,
    TextPiece,
    Tree,
    children,
)

_LINE_END = re.compile(r"(?<=\S)[ \t]++(?=\r?\n)")
_ESCAPED_END = re.compile(r"(?<=\S)[ \t]++(?=\\n)")


def lint(tree: Tree) -> tuple[Diagnostic, ...]:
    """What is doubtful about the texts of the tree's semantic functions, in source order."""
    return tuple(
        found
        for item in tree.items
        if isinstance(item, PfuncDecl)
        for template in _pieces(item)
        for found in _template(template, item)
    )


def _pieces(node: Node) -> Iterator[Template]:
    if isinstance(node, TextPiece):
        yield node.template
        return
    for child in children(node):
        yield from _pieces(child)


def _template(template: Template, holder: PfuncDecl) -> Iterator[Diagnostic]:
    is_block = template.span.text().lstrip("rR").startswith(('"""', "'''"))
    for part, following in zip_longest(template.parts, template.parts[1:]):
        if not isinstance(part, TextPart):
            continue
        span = part.span
        for found in (_LINE_END if is_block else _ESCAPED_END).finditer(span.text()):
            yield _trailing(Span(span.source, span.start + found.start(), span.start + found.end()))
        # Blanks of the text, not of the margin: after a newline the span begins with the margin.
        blanks = min(_blanks(part.text), _blanks(span.text()))
        last = Span(span.source, span.end - blanks, span.end)
        if blanks and following is None and not template.joined:
            yield _trailing(last)
        elif blanks and isinstance(following, Gen) and _is_free(following, holder):
            yield _before_gen(last, following)


def _is_free(gen: Gen, holder: PfuncDecl) -> bool:
    """Whether a hole generates free text. A choice or a number cannot begin with the space."""
    of_output = (o.type for o in holder.outputs if gen.name is None or o.name == gen.name)
    type_ = gen.type or next(of_output, None)
    if isinstance(type_, OptionalType):
        type_ = type_.item
    if not isinstance(type_, NamedType) or type_.name != "str":
        return False
    return not any(arg.name == "regex" for arg in type_.args)


def _blanks(text: str) -> int:
    """How many spaces and tabs end the text."""
    return len(text) - len(text.rstrip(" \t"))


def _trailing(span: Span) -> Diagnostic:
    return Diagnostic(
        "W0207",
        "a line of this prompt ends in a space",
        span,
        notes=("the model sees the space, and continues differently after it",),
        help="remove it, or end the line with `\\` to join it with the next",
    )


def _before_gen(span: Span, gen: Gen) -> Diagnostic:
    return Diagnostic(
        "W0208",
        "a space comes before generated text",
        span,
        notes=("most tokenizers put a space into the token that follows it",),
        help=f"leave the space to the model: `…{gen.span.text()}`",
    )

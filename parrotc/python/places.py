"""Where a node of Python's `ast` stands in the source, in the offsets that all else counts in."""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager

from parrotc.ir.source import Source, Span
from parrotc.syntax.problem import Problem, problem
from parrotc.syntax.scan import MAX_DEPTH

_LINE_END = re.compile(r"\r\n|\r|\n")  # what Python ends a line at
_HEAD = re.compile(r"(?:async[\s\\]+)?(?:def|class)[\s\\]+")

Place = ast.expr | ast.stmt | ast.arg | ast.keyword | ast.pattern | ast.alias | Span


class Places:
    """Places of one source. Python counts columns in bytes of UTF-8, a `Span` in characters."""

    def __init__(self, source: Source) -> None:
        self.source = source
        ends = list(_LINE_END.finditer(source.text))
        self._starts = [0, *(end.end() for end in ends)]
        stops = [*(end.start() for end in ends), len(source.text)]
        pairs = zip(self._starts, stops, strict=True)
        self._lines = [source.text[start:stop] for start, stop in pairs]
        self._depth = 0

    def offset(self, line: int, column: int) -> int:
        """The offset of a line (from 1) and a column in bytes (from 0)."""
        text = self._lines[line - 1]
        held = column if text.isascii() else len(text.encode()[:column].decode())
        return self._starts[line - 1] + held

    def span(self, node: Place) -> Span:
        if isinstance(node, Span):
            return node
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = self.offset(node.lineno, node.col_offset)
        return Span(self.source, start, self.offset(node.end_lineno, node.end_col_offset))

    def head(self, node: ast.stmt) -> Span:
        """The first line of a statement: `while x:` without what is in the loop."""
        span = self.span(node)
        end = self.source.text.find("\n", span.start, span.end)
        return Span(self.source, span.start, span.end if end < 0 else end)

    def name(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Span:
        """The name that a `def` or `class` binds."""
        head = _HEAD.match(self.source.text, self.span(node).start)
        assert head is not None
        return Span(self.source, head.end(), head.end() + len(node.name))

    @contextmanager
    def inside(self, node: Place) -> Iterator[None]:
        """Count one step down into a node. Raises `Problem` where that is too deep: every later
        stage walks the tree recursively."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise self.problem(
                    node,
                    "E0110",
                    f"this nests more than {MAX_DEPTH} deep",
                    help="give an inner part a name of its own",
                )
            yield
        finally:
            self._depth -= 1

    def check_text(self, node: ast.expr, text: str) -> None:
        """Raise `Problem` for a text that no file and no model can hold."""
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self.problem(
                node, "E0122", "this text has half of a surrogate pair, which is no character"
            )

    def problem(
        self,
        node: Place,
        code: str,
        message: str,
        *,
        label: str = "",
        other: tuple[Place, str] | None = None,
        note: str = "",
        help: str = "",
    ) -> Problem:
        """A mistake at a node, and perhaps a second place with a word about it."""
        at = self.span(node)
        second = None
        if other is not None:
            span = self.span(other[0])
            second = (span.start, span.end, other[1])
        return problem(
            self.source,
            (at.start, at.end),
            code,
            message,
            label=label,
            other=second,
            note=note,
            help=help,
        )

"""From Lark's parse tree to expressions, types and holes: the bottom of the three builders.

A rule of grammar.lark named `x` is built by the method `x`. Lark's tree knows masked text only;
what a text says is read from the source (text.py), and each hole in it is parsed on its own.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from lark import Token
from lark import Tree as Parsed

from parrotc.ir.source import Span
from parrotc.syntax import tree
from parrotc.syntax.numbers import SECONDS, is_too_large, too_large
from parrotc.syntax.problem import Problem, problem
from parrotc.syntax.scan import MAX_DEPTH, Masked
from parrotc.syntax.text import Content, read_text

Part = Parsed[Token] | Token | None
"""A child in Lark's tree; None stands for an optional part that is absent."""

ParseHole = Callable[[Masked, int, int], tree.Show | tree.Gen]
N = TypeVar("N", bound=tree.Node)

_CONSTANTS = {"True": True, "False": False, "None": None}


class ExprBuilder:
    """Builds what may stand in an expression; `masked` is the text that Lark has parsed."""

    def __init__(self, masked: Masked, parse_hole: ParseHole) -> None:
        self.masked = masked
        self._parse_hole = parse_hole
        self._depth = 0

    # --- places and dispatch ---

    def span(self, part: Part) -> Span:
        """Where a part stands, without the newlines and blanks that end it."""
        if isinstance(part, Token):
            start, end = part.start_pos, part.end_pos
        else:
            assert part is not None
            start, end = part.meta.start_pos, part.meta.end_pos
        assert start is not None and end is not None
        end = start + len(self.masked.text[start:end].rstrip())
        return Span(self.masked.source, self.masked.start + start, self.masked.start + end)

    def problem(
        self, part: Part, code: str, message: str, help: str = "", note: str = ""
    ) -> Problem:
        span = self.span(part)
        return problem(span.source, (span.start, span.end), code, message, help=help, note=note)

    def node(self, part: Part) -> tree.Node:
        """Build the node of a rule. Raises `Problem` when it nests too deep."""
        assert isinstance(part, Parsed)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.problem(
                part,
                "E0110",
                f"this nests more than {MAX_DEPTH} deep",
                help="give an inner part a name of its own",
            )
        node: tree.Node = getattr(self, part.data)(part)
        self._depth -= 1
        return node

    def nodes(self, parts: Sequence[Part]) -> tuple[tree.Node, ...]:
        return tuple(self.node(part) for part in parts)

    def build(self, parts: Sequence[Part], kind: type[N]) -> tuple[N, ...]:
        """Build the nodes of rules that all are a `kind`."""
        nodes = self.nodes(parts)
        assert all(isinstance(node, kind) for node in nodes)
        return cast(tuple[N, ...], nodes)

    # --- texts ---

    def content(self, part: Part) -> Content:
        """What a TEXT token says, holes and all."""
        quoted = self.masked.quoted[self.span(part).start]
        hole = None if self.masked.inside else self._hole
        return read_text(self.masked.source, quoted, hole)

    def template(self, part: Part, joined: bool = False) -> tree.Template:
        content = self.content(part)
        return tree.Template(
            span=self.span(part), parts=content.parts, joined=joined or content.joined
        )

    def plain(self, part: Part) -> str:
        """What a TEXT token says where holes make no sense."""
        content = self.content(part)
        for inner in content.parts:
            if not isinstance(inner, tree.TextPart):
                raise problem(
                    inner.span.source,
                    (inner.span.start, inner.span.end),
                    "E0210",
                    "this text takes no holes",
                    note="it is read when the program is compiled",
                    help="write `\\{{` for literal braces",
                )
        return "".join(inner.text for inner in content.parts if isinstance(inner, tree.TextPart))

    def _hole(self, start: int, end: int) -> tree.Show | tree.Gen:
        return self._parse_hole(self.masked, start, end)

    # --- names and arguments ---

    def ident(self, part: Part) -> tree.Name:
        assert isinstance(part, Token)
        return tree.Name(span=self.span(part), id=str(part))

    def dotted(self, part: Part) -> str:
        assert isinstance(part, Parsed)
        return "".join(str(token) for token in part.children)

    def target(self, part: Part) -> tree.Target:
        assert isinstance(part, Parsed)
        names = tuple(self.ident(token) for token in part.children)
        return tree.Target(span=self.span(part), names=names)

    def args(self, part: Part) -> tuple[tree.Arg, ...]:
        """The arguments of a call, a decorator, a type or a filter; none for an absent list."""
        if part is None:
            return ()
        assert isinstance(part, Parsed)
        args = tuple(self._arg(child) for child in part.children)
        for child, arg, before in zip(part.children[1:], args[1:], args, strict=False):
            if arg.name is None and before.name is not None:
                raise self.problem(
                    child, "E0117", "an argument without a name follows one with a name"
                )
        return args

    def _arg(self, part: Part) -> tree.Arg:
        if isinstance(part, Parsed) and part.data == "keyword":
            return self.keyword(part)
        return tree.Arg(span=self.span(part), name=None, value=self.expr(part))

    def keyword(self, part: Parsed[Token]) -> tree.Arg:
        name, value = part.children
        return tree.Arg(span=self.span(part), name=str(name), value=self.expr(value))

    # --- expressions ---

    def expr(self, part: Part) -> tree.Expr:
        return cast(tree.Expr, self.node(part))

    def exprs(self, parts: Sequence[Part]) -> tuple[tree.Expr, ...]:
        return tuple(self.expr(part) for part in parts)

    def name(self, part: Parsed[Token]) -> tree.Name:
        return self.ident(part.children[0])

    def text(self, part: Parsed[Token]) -> tree.Literal | tree.Template:
        template = self.template(part.children[0])
        texts = [inner.text for inner in template.parts if isinstance(inner, tree.TextPart)]
        if len(texts) < len(template.parts):
            return template
        return tree.Literal(span=template.span, value="".join(texts))

    def number(self, part: Parsed[Token]) -> tree.Literal:
        digits = "".join(str(token) for token in part.children)
        is_int = all(sign.isdigit() or sign in "_-" for sign in digits)
        value = _int(digits) if is_int else float(digits)
        if is_too_large(value):
            raise too_large(self.span(part))
        return tree.Literal(span=self.span(part), value=value)

    def duration(self, part: Parsed[Token]) -> tree.Duration:
        text = str(part.children[0])
        unit = text.lstrip("0123456789.")
        seconds = float(text.removesuffix(unit)) * SECONDS[unit]
        return tree.Duration(span=self.span(part), seconds=seconds)

    def constant(self, part: Parsed[Token]) -> tree.Literal:
        return tree.Literal(span=self.span(part), value=_CONSTANTS[str(part.children[0])])

    def unary(self, part: Parsed[Token]) -> tree.Unary | tree.Literal:
        op, operand = part.children
        value = self.expr(operand)
        if op == "-" and isinstance(value, tree.Literal) and _is_number(value.value):
            return tree.Literal(span=self.span(part), value=-value.value)  # type: ignore[operator]
        return tree.Unary(span=self.span(part), op=str(op), value=value)

    def binary(self, part: Parsed[Token]) -> tree.Binary:
        left, op, right = part.children
        return tree.Binary(
            span=self.span(part),
            left=self.expr(left),
            op=" ".join(str(op).split()),  # `not   in`
            right=self.expr(right),
        )

    def conditional(self, part: Parsed[Token]) -> tree.Conditional:
        then, condition, orelse = part.children
        return tree.Conditional(
            span=self.span(part),
            condition=self.expr(condition),
            then=self.expr(then),
            orelse=self.expr(orelse),
        )

    def call(self, part: Parsed[Token]) -> tree.CallExpr:
        function, args = part.children
        return tree.CallExpr(
            span=self.span(part), function=self.expr(function), args=self.args(args)
        )

    def with_policy(self, part: Parsed[Token]) -> tree.With:
        base, args = part.children
        call = self.expr(base)
        if not isinstance(call, tree.CallExpr):
            raise self.problem(
                base,
                "E0114",
                "`with` follows something that is no call",
                help="call it first: `f(x)`",
            )
        policies = self.args(args)
        for policy in policies:
            if policy.name is None:
                raise problem(
                    policy.span.source,
                    (policy.span.start, policy.span.end),
                    "E0117",
                    "a policy has no name",
                    help=f"write `n={policy.span.text()}` or the like",
                )
        return tree.With(span=self.span(part), call=call, policies=policies)

    def attribute(self, part: Parsed[Token]) -> tree.Attribute:
        value, _, attr = part.children
        return tree.Attribute(
            span=self.span(part), value=self.expr(value), attr=str(attr), attr_span=self.span(attr)
        )

    def index(self, part: Parsed[Token]) -> tree.Index:
        value, index = part.children
        return tree.Index(span=self.span(part), value=self.expr(value), index=self.expr(index))

    def slice_expr(self, part: Parsed[Token]) -> tree.Slice:
        value, start, stop = part.children
        return tree.Slice(
            span=self.span(part),
            value=self.expr(value),
            start=None if start is None else self.expr(start),
            stop=None if stop is None else self.expr(stop),
        )

    def tuple_expr(self, part: Parsed[Token]) -> tree.TupleExpr:
        return tree.TupleExpr(span=self.span(part), items=self.exprs(part.children))

    def list_expr(self, part: Parsed[Token]) -> tree.ListExpr:
        return tree.ListExpr(span=self.span(part), items=self.exprs(part.children))

    def record(self, part: Parsed[Token]) -> tree.RecordExpr:
        return tree.RecordExpr(span=self.span(part), fields=self.build(part.children, tree.Arg))

    def pair(self, part: Parsed[Token]) -> tree.Arg:
        key, value = part.children
        name = self.plain(key) if isinstance(key, Token) and key.type == "TEXT" else str(key)
        return tree.Arg(span=self.span(part), name=name, value=self.expr(value))

    def comprehension(self, part: Parsed[Token]) -> tree.Comprehension:
        value, *loops = part.children
        return tree.Comprehension(
            span=self.span(part), value=self.expr(value), loops=self.build(loops, tree.Loop)
        )

    def loop(self, part: Parsed[Token]) -> tree.Loop:
        target, items, condition = part.children
        return tree.Loop(
            span=self.span(part),
            target=self.target(target),
            items=self.expr(items),
            condition=None if condition is None else self.expr(condition),
        )

    # --- types ---

    def type_expr(self, part: Part) -> tree.TypeExpr:
        return cast(tree.TypeExpr, self.node(part))

    def named_type(self, part: Parsed[Token]) -> tree.NamedType:
        name, *rest, args = part.children
        params = tuple(self.type_expr(param) for param in rest if param is not None)
        return tree.NamedType(
            span=self.span(part), name=self.dotted(name), params=params, args=self.args(args)
        )

    def literal_type(self, part: Parsed[Token]) -> tree.LiteralType:
        return tree.LiteralType(span=self.span(part), value=self.plain(part.children[0]))

    def constant_type(self, part: Parsed[Token]) -> tree.NoneTypeExpr:
        word = part.children[0]
        if word != "None":
            raise self.problem(part, "E0111", f"`{word}` is not a type", help="write `bool`")
        return tree.NoneTypeExpr(span=self.span(part))

    def optional_type(self, part: Parsed[Token]) -> tree.OptionalType:
        return tree.OptionalType(span=self.span(part), item=self.type_expr(part.children[0]))

    def union_type(self, part: Parsed[Token]) -> tree.UnionType:
        options = tuple(self.type_expr(option) for option in part.children)
        return tree.UnionType(span=self.span(part), options=options)

    # --- holes ---

    def show(self, part: Parsed[Token]) -> tree.Show:
        value, *filters = part.children
        return tree.Show(
            span=self.span(part),
            value=self.expr(value),
            filters=self.build(filters, tree.Filter),
        )

    def text_filter(self, part: Parsed[Token]) -> tree.Filter:
        name, args = part.children
        return tree.Filter(span=self.span(part), name=str(name), args=self.args(args))

    def gen(self, part: Parsed[Token]) -> tree.Gen:
        name, type_, *args = part.children
        return tree.Gen(
            span=self.span(part),
            name=None if name is None else str(name),
            type=None if type_ is None else self.type_expr(type_),
            args=self.build(args, tree.Arg),
        )

    def gen_unnamed(self, part: Parsed[Token]) -> tree.Gen:
        args = self.build(part.children, tree.Arg)
        return tree.Gen(span=self.span(part), name=None, type=None, args=args)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _int(digits: str) -> int:
    """The int; Python refuses to read very long ones, which are too large in any case."""
    return int(digits) if len(digits) < 100 else 2**64

"""A region being built: ops in order, and what each name of the program means at this point.

Rebinding a name needs no φ: `env` maps it to its newest value, and the ops that hold regions
(`If`, `Fold`) yield what their arms changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from parrotc.check import rules
from parrotc.ir.names import Names
from parrotc.ir.ops import Apply, Attrs, Block, Const, If, Op, Value
from parrotc.ir.source import Span
from parrotc.ir.types import (
    BOOL,
    STR,
    Choice,
    Enum,
    Json,
    Str,
    Type,
)


@dataclass
class Region:
    """Ops so far, and the values of the names in scope."""

    names: Names
    env: dict[str, Value] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def inner(self) -> "Region":
        """An empty region inside this one: it sees every name, and its own bindings stay inside."""
        return Region(self.names, dict(self.env))

    def block(self, params: Sequence[Value], yields: Sequence[Value]) -> Block:
        return Block(tuple(params), tuple(self.ops), tuple(yields))

    def const(self, value: Json, type_: Type, span: Span | None, hint: str = "k") -> Value:
        result = self.names.fresh(hint, type_)
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        self.ops.append(Const(results=(result,), json=text, span=span))
        return result

    def apply(
        self,
        function: str,
        args: Sequence[Value],
        type_: Type,
        span: Span | None,
        hint: str = "v",
        attrs: Attrs = (),
    ) -> Value:
        result = self.names.fresh(hint, type_)
        op = Apply(results=(result,), function=function, args=tuple(args), attrs=attrs, span=span)
        self.ops.append(op)
        return result

    def declared(self, value: Value, type_: Type, span: Span | None) -> Value:
        """The value where `type_` is declared: a record is then one of the class."""
        if not rules.lacks_class(value.type, type_):
            return value
        return self.apply("as", [value], type_, span, "result")

    def shown(self, value: Value, span: Span | None) -> Value:
        """The text of a value in a hole."""
        if isinstance(value.type, Str | Enum | Choice):
            return value
        return self.apply("show", [value], STR, span)

    def choose(
        self,
        condition: Value,
        then: tuple["Region", Sequence[Value]],
        orelse: tuple["Region", Sequence[Value]],
        hints: Sequence[str],
        span: Span | None,
    ) -> tuple[Value, ...]:
        """An `If` over two finished regions and what they yield, joined pairwise."""
        pairs = zip(hints, then[1], orelse[1], strict=True)
        results = tuple(self.names.fresh(h, join(a.type, b.type)) for h, a, b in pairs)
        op = If(
            results=results,
            condition=condition,
            then=then[0].block((), then[1]),
            orelse=orelse[0].block((), orelse[1]),
            span=span,
        )
        self.ops.append(op)
        return results

    def truth(self, value: bool, span: Span | None) -> Value:
        return self.const(value, BOOL, span)


def join(a: Type, b: Type) -> Type:
    """The narrowest type that holds values of both; the checker has made sure that there is one."""
    joined = rules.join(_spoken(a, b), _spoken(b, a))
    assert joined is not None, f"`{a}` and `{b}` have no type in common"
    return joined


def _spoken(type_: Type, other: Type) -> Type:
    """Beside a text, a member of an enum stands for its name: that is how it is written."""
    return STR if isinstance(type_, Enum) and isinstance(other, Str | Choice) else type_

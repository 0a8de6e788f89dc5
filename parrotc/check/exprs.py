"""Expressions: the type of each, and what each name in them means.

`expr` finds a type, with a hint of what is wanted that decides what literals are; `expect` also
demands it. A value of type `BROKEN` is already reported and silences everything built on it.
Operators, data and calls have files of their own.
"""

from collections.abc import Sequence

from parrotc.check import calls, data, operators, rules
from parrotc.check.naming import Naming
from parrotc.check.narrowing import narrow, path
from parrotc.check.program import ConstSymbol, LocalSymbol, ModelSymbol, Symbol, TypeSymbol
from parrotc.check.report import did_you_mean, nearest
from parrotc.check.rules import BROKEN, EMPTY_LIST, a, assignable
from parrotc.check.scope import Unusable
from parrotc.check.session import BrokenSymbol, NamespaceSymbol
from parrotc.ir.diagnostic import Label
from parrotc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    NONE,
    STR,
    Bool,
    Choice,
    Enum,
    Float,
    Int,
    ListOf,
    Optional,
    Record,
    Scored,
    Str,
    Type,
    quote,
)
from parrotc.syntax import tree


class Exprs(Naming):
    """Types the expressions of one declaration."""

    def expr(self, node: tree.Expr, wanted: Type | None = None) -> Type:
        """The type of an expression; literals become what is `wanted` where they can."""
        type_ = self._infer(node, wanted)
        self.session.types[node] = type_
        return type_

    def expect(
        self,
        node: tree.Expr,
        wanted: Type,
        what: str,
        labels: Sequence[Label] = (),
        help: str = "",
    ) -> None:
        """Report unless the expression fits. `what` names the place: `size` of `chunk`."""
        given = self.expr(node, wanted)
        if not assignable(given, wanted):
            message = f"{what} must be {a(wanted)}, not {a(given)}"
            help_ = help or _conversion(node, given, wanted)
            self.report.add(
                "E0310", message, node.span, f"this is {a(given)}", labels=labels, help=help_
            )
        elif isinstance(node, tree.Literal):
            self._literal_in_range(node, wanted, what)

    def condition(self, node: tree.Expr) -> None:
        self.expect(node, BOOL, "a condition")

    def unpack(self, target: tree.Target, type_: Type) -> None:
        """Bind `a` to a value of `type_`, or `a, b` to its parts."""
        names = target.names
        if len(names) == 1:
            self.bind(names[0], type_)
            return
        parts = type_.fields if isinstance(type_, Record) and not type_.name else ()
        if type_ != BROKEN and len(parts) != len(names):
            count = f"{len(parts)} values" if parts else a(type_)
            self.report.add("E0334", f"{len(names)} names cannot be bound to {count}", target.span)
        for index, name in enumerate(names):
            self.bind(name, parts[index].type if len(parts) == len(names) else BROKEN)

    def items_of(self, node: tree.Expr) -> Type:
        """The item type of what a loop runs over: lists only, so that every loop is bounded."""
        type_ = self.expr(node)
        if isinstance(type_, ListOf):
            return self.item_of(node, type_)
        if type_ != BROKEN:
            self.report.add(
                "E0501",
                f"a loop runs over a list, and this is {a(type_)}",
                node.span,
                "not a list",
                note="loops are bounded by a list, a `range` or an enum, so that a plan is finite",
                help=_over(node, type_),
            )
        return BROKEN

    def item_of(self, node: tree.Expr, type_: ListOf) -> Type:
        """The type of an item of a list, which an empty list may not tell."""
        if type_ != EMPTY_LIST:
            return type_.item
        self.report.add(
            "E0318",
            "nothing says what this list holds",
            node.span,
            help="name it with its type: `items: list[str] = []`",
        )
        return BROKEN

    # names

    def _reference(self, node: tree.Name | tree.Attribute) -> Type:
        """The type of a name that is used as a value."""
        match self.meaning(node):
            case LocalSymbol(type=type_) | ConstSymbol(type=type_):
                return type_
            case TypeSymbol(type=Enum() as enum):
                return ListOf(enum)
            case BrokenSymbol():
                return BROKEN
            case Unusable() as unusable:
                return self._unusable(node, unusable)
            case Symbol() as symbol:
                return self._no_value(node, symbol)
        assert isinstance(node, tree.Attribute)
        return self._attribute(node)

    def _unusable(self, node: tree.Name | tree.Attribute, unusable: Unusable) -> Type:
        name = node.id if isinstance(node, tree.Name) else node.attr
        self.report.add(
            "E0332",
            f"`{name}` {unusable.why}",
            node.span,
            "used here",
            labels=unusable.labels,
            help=unusable.help,
        )
        self.scope.bind(LocalSymbol(name=name, span=None, type=BROKEN))
        return BROKEN

    def _no_value(self, node: tree.Expr, symbol: Symbol) -> Type:
        kind, help_ = "a function", f"call it: `{node.span.text()}(…)`"
        match symbol:
            case ModelSymbol():
                kind, help_ = "a model", f"ask it with a policy: `f(…) with (model={symbol.name})`"
            case TypeSymbol():
                kind, help_ = "a type", "write a value of it: `{name: …}`"
            case NamespaceSymbol():
                kind, help_ = "a module", ""
        self.report.add(
            "E0316", f"`{node.span.text()}` is {kind}, not a value", node.span, help=help_
        )
        return BROKEN

    def _attribute(self, node: tree.Attribute) -> Type:
        held = self.expr(node.value)
        narrowed = self.scope.known_type(path(node))
        if narrowed is not None:
            return narrowed
        known = rules.attributes(held)
        if held == BROKEN:
            return BROKEN
        if node.attr in known:
            return known[node.attr]
        help_ = did_you_mean(node.attr, known)
        inner = rules.without_none(held)
        if inner != held and node.attr in rules.attributes(inner):
            help_ = f"handle `None` first: `… if {node.value.span.text()} != None else …`"
        message = f"{a(held)} has no `{node.attr}`"
        self.report.add(
            "E0313", message, node.attr_span, labels=_declared(node.value, self), help=help_
        )
        return BROKEN

    # every kind of expression

    def _infer(self, node: tree.Expr, wanted: Type | None) -> Type:
        hint = wanted.item if isinstance(wanted, Optional) else wanted
        match node:
            case tree.Literal():
                return self._literal(node, hint)
            case tree.Name() | tree.Attribute():
                return self._reference(node)
            case tree.Template():
                return self._template(node)
            case tree.CallExpr() | tree.With():
                return calls.call(self, node)
            case tree.Index():
                return data.index(self, node)
            case tree.Slice():
                return data.slice_(self, node)
            case tree.Unary():
                return operators.unary(self, node)
            case tree.Binary():
                return operators.binary(self, node)
            case tree.Conditional():
                return self._conditional(node, wanted)
            case tree.ListExpr():
                return data.list_(self, node, hint)
            case tree.TupleExpr():
                return data.tuple_(self, node, hint)
            case tree.RecordExpr():
                return data.record(self, node, hint)
            case tree.Comprehension():
                return data.comprehension(self, node, hint)
            case tree.Duration():
                return self._bad_duration(node)
        raise TypeError(f"no expression: {type(node).__name__}")

    def _literal(self, node: tree.Literal, hint: Type | None) -> Type:
        type_ = _literal_type(node)
        if type_ == INT and isinstance(hint, Float):
            return FLOAT
        if isinstance(node.value, str) and isinstance(hint, Enum | Choice):
            return self._option(node, node.value, hint)
        return type_

    def _option(self, node: tree.Literal, text: str, choice: Enum | Choice) -> Type:
        """A text where a choice is wanted is one of its options."""
        names = rules.names_of(choice)
        if text not in names:
            message = f"{quote(text)} is none of the options of `{rules.describe(choice)}`"
            near = nearest(text, names)
            help_ = f"did you mean `{quote(near)}`?" if near else ""
            self.report.add("E0310", message, node.span, "not an option", help=help_)
        return choice

    def _literal_in_range(self, node: tree.Literal, wanted: Type, what: str) -> None:
        why = rules.fits_literal(node.value, rules.without_none(wanted))
        if why:
            message = f"{what} must be {a(wanted)}, and this is not: {why}"
            self.report.add("E0310", message, node.span)

    def _template(self, node: tree.Template) -> Type:
        for part in node.parts:
            match part:
                case tree.Show():
                    self.show(part)
                case tree.Gen():
                    self.report.add(
                        "E0322",
                        "only a prompt can generate",
                        part.span,
                        f"this is {self.place}",
                        help="write the prompt as a `pfunc`, and call it",
                    )
        return STR

    def show(self, node: tree.Show) -> None:
        """A hole that reads: what it shows must have a text."""
        type_ = self.expr(node.value)
        for filter_ in node.filters:
            type_ = calls.filtered(self, filter_, node.value, type_)
        if rules.is_shown(type_):
            return
        last = node.filters[-1] if node.filters else node.value
        text = node.value.span.text()
        notes = {
            ListOf: (
                "a list has no one text form",
                f'`{{{{{text} | bullets}}}}`, `numbered` or `join(", ")`',
            ),
            Optional: (
                "it may be `None`, which has no text",
                f"test it first: `if {text} != None:`",
            ),
            Scored: ("a scored choice is more than its value", f"`{{{{{text}.value}}}}`"),
        }
        note, help_ = notes.get(type(type_), ("", f"show a field, or `{{{{{text} | json}}}}`"))
        message = f"a hole cannot show {a(type_)}"
        self.report.add("E0324", message, last.span, f"this is {a(type_)}", note=note, help=help_)

    def _conditional(self, node: tree.Conditional, wanted: Type | None) -> Type:
        self.condition(node.condition)
        with self.inside(narrow(node.condition, True, self.scope)):
            then = self.expr(node.then, wanted)
        with self.inside(narrow(node.condition, False, self.scope)):
            orelse = self.expr(node.orelse, wanted)
        joined = rules.join(then, orelse)
        if joined is None:
            message = f"one side is {a(then)} and the other {a(orelse)}"
            labels = [Label(node.then.span, f"this is {a(then)}")]
            self.report.add(
                "E0318", message, node.orelse.span, f"this is {a(orelse)}", labels=labels
            )
        return joined or BROKEN

    def _bad_duration(self, node: tree.Duration) -> Type:
        message = "a duration is only a value of a policy"
        self.report.add("E0316", message, node.span, help="write the number of seconds")
        return BROKEN


def _literal_type(node: tree.Literal) -> Type:
    match node.value:
        case None:
            return NONE
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return FLOAT
    return STR


def _conversion(node: tree.Expr, given: Type, wanted: Type) -> str:
    """What to write instead, where that is plain."""
    text = node.span.text()
    if "\n" in text or len(text) > 40:
        text = "…"
    inner = rules.without_none(given)
    if isinstance(node, tree.Literal):
        return _literal_conversion(node, wanted)
    match given, wanted:
        case Optional(), Bool():
            return f"`{text} != None`"
        case ListOf(), Bool():
            return f"`len({text}) > 0`"
        case Str(), Bool():
            return f'`{text} != ""`'
        case Int(), Bool():
            return f"`{text} != 0`"
        case Optional(), _ if assignable(inner, wanted) and text == "…":
            return "handle `None` first: give it a name, and test that"
        case Optional(), _ if assignable(inner, wanted):
            return f"handle `None` first: `{text} if {text} != None else …`"
        case Scored(item=item), _ if assignable(item, wanted):
            return f"`{text}.value` is the choice alone"
        case ((Int() | Float() | Bool()), Str()):
            return f"`str({text})`"
        case Enum(), Str():
            return f"`{text}.name`"
        case Str(), Int():
            return f"`int({text})`"
        case Str(), Float():
            return f"`float({text})`"
        case Float(), Int():
            return f"`round({text})`"
        case ListOf(item=item), Str() if rules.is_shown(item):
            return f'`"{{{{{text} | join(", ")}}}}"`'
        case _, ListOf(item=item) if assignable(given, item):
            return f"`[{text}]`"
        case Record(name=""), Record(name="") if rules.is_tuple(given):
            fields = ", ".join(f"{field.name}: …" for field in wanted.fields)
            return f"`{{{fields}}}`"
    return ""


def _literal_conversion(node: tree.Literal, wanted: Type) -> str:
    """The same value, written as what is wanted."""
    match node.value, rules.without_none(wanted):
        case (bool(), _) | (None, _):
            return ""
        case ((int() | float()), Str()):
            return f"`{quote(node.span.text())}`"
        case str() as text, (Int() | Float()) if text.isdecimal():
            return f"`{text}`"
        case _, ListOf(item=item) if assignable(_literal_type(node), item):
            return f"`[{node.span.text()}]`"
    return ""


def _declared(node: tree.Expr, exprs: Exprs) -> list[Label]:
    """Where the value's name got its type."""
    symbol = exprs.session.names.get(node)
    if isinstance(symbol, LocalSymbol) and symbol.span is not None:
        return [Label(symbol.span, f"`{symbol.name}` is {a(symbol.type)}")]
    return []


def _over(node: tree.Expr, type_: Type) -> str:
    """The list that was probably meant."""
    text = node.span.text()
    match type_:
        case Int():
            return f"`range({text})`"
        case Str():
            return f"`{text}.splitlines()` for lines, `{text}.split()` for words"
    return ""

"""What is built in: functions, methods of texts and filters, and the types they take and give.

Each has a function of the same name in `ir/scalar.py` that computes it. A rule is given the types
of the arguments, none of them broken, and gives the type of the result or raises `Unfit`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parrotc.check.rules import (
    a,
    is_number,
    is_shown,
    is_text,
    join,
    tuple_of,
)
from parrotc.ir.types import BOOL, FLOAT, INT, NONE, STR, Bool, Float, Int, ListOf, Type


class Unfit(Exception):
    """The argument at `index` has a type that the function does not take."""

    def __init__(self, index: int, wanted: str) -> None:
        super().__init__(wanted)
        self.index = index
        self.wanted = wanted


Types = Sequence[Type]
Rule = Callable[[Types], Type]


@dataclass(frozen=True)
class Builtin:
    """`least` to `most` arguments; `names` are those of the optional arguments of a filter."""

    rule: Rule
    least: int = 1
    most: int = 1
    names: tuple[str, ...] = ()


def _need(ok: bool, index: int, wanted: str) -> None:
    if not ok:
        raise Unfit(index, wanted)


def _list_item(types: Types, index: int) -> Type:
    """The item type of a list argument; `NONE` for an empty list that does not say."""
    type_ = types[index]
    if not isinstance(type_, ListOf):
        raise Unfit(index, "a list")
    return type_.item


def _known_item(types: Types, index: int) -> Type:
    """The item type of a list argument that must say what it holds."""
    item = _list_item(types, index)
    _need(item != NONE, index, "a list that says what it holds")
    return item


def _fixed(result: Type, *params: Callable[[Type], bool] | None, wanted: str) -> Rule:
    """A rule for a function whose result type does not depend on its arguments."""

    def rule(types: Types) -> Type:
        for index, (type_, test) in enumerate(zip(types, params, strict=False)):
            if test is not None:
                _need(test(type_), index, wanted)
        return result

    return rule


def _is_int(type_: Type) -> bool:
    return isinstance(type_, Int)


def _len(types: Types) -> Type:
    _need(isinstance(types[0], ListOf) or is_text(types[0]), 0, "a list or a text")
    return INT


def _zip(types: Types) -> Type:
    return ListOf(tuple_of(*[_known_item(types, i) for i in range(len(types))]))


def _enumerate(types: Types) -> Type:
    return ListOf(tuple_of(INT, _known_item(types, 0)))


def _round(types: Types) -> Type:
    _need(is_number(types[0]), 0, "a number")
    if len(types) == 1:
        return INT
    _need(_is_int(types[1]), 1, "an int")
    return types[0]


def _extreme(types: Types) -> Type:
    """The items of one list, or the arguments themselves: all numbers, or all texts."""
    items = [_known_item(types, 0)] if len(types) == 1 else list(types)
    best = items[0]
    for index, item in enumerate(items):
        _need(is_number(item) or is_text(item), index, "numbers or texts")
        joined = join(best, item)
        _need(joined is not None, index, f"values like the first, {a(best)}")
        best = joined or best
    return best


def _sum(types: Types) -> Type:
    item = _list_item(types, 0)
    _need(item == NONE or is_number(item), 0, "a list of numbers")
    return FLOAT if isinstance(item, Float) else INT


def _truths(types: Types) -> Type:
    item = _list_item(types, 0)
    _need(item == NONE or isinstance(item, Bool), 0, "a list of bools")
    return BOOL


def _sorted(types: Types) -> Type:
    item = _list_item(types, 0)
    _need(item == NONE or is_number(item) or is_text(item), 0, "a list of numbers or texts")
    return types[0]


def _shown_list(types: Types) -> Type:
    """A list of what a hole can show, joined into one text; the other arguments are texts."""
    item = _list_item(types, 0)
    _need(item == NONE or is_shown(item), 0, "a list of texts or numbers")
    for index, type_ in enumerate(types[1:], 1):
        _need(is_text(type_), index, "a text")
    return STR


def _convert(result: Type) -> Rule:
    def test(type_: Type) -> bool:
        return is_number(type_) or is_text(type_) or isinstance(type_, Bool)

    return _fixed(result, test, wanted="a text, a number or a bool")


def _text(result: Type) -> Rule:
    """A method or filter of a text whose arguments are texts."""
    return _fixed(result, is_text, is_text, is_text, wanted="a text")


def _text_int(types: Types) -> Type:
    _need(is_text(types[0]), 0, "a text")
    for index, type_ in enumerate(types[1:], 1):
        _need(_is_int(type_), index, "an int")
    return STR


_COUNT = _fixed(ListOf(INT), _is_int, _is_int, _is_int, wanted="an int")
_MANY = 1_000

FUNCTIONS: dict[str, Builtin] = {
    "len": Builtin(_len), "range": Builtin(_COUNT, 1, 3), "zip": Builtin(_zip, 2, _MANY),
    "enumerate": Builtin(_enumerate), "round": Builtin(_round, 1, 2), "sum": Builtin(_sum),
    "str": Builtin(_fixed(STR, is_shown, wanted="a text, a number, a bool or a choice")),
    "int": Builtin(_convert(INT)), "float": Builtin(_convert(FLOAT)),
    "min": Builtin(_extreme, 1, _MANY), "max": Builtin(_extreme, 1, _MANY),
    "any": Builtin(_truths), "all": Builtin(_truths), "sorted": Builtin(_sorted),
}  # fmt: skip

METHODS: dict[str, Builtin] = {
    "strip": Builtin(_text(STR), 1, 2), "lower": Builtin(_text(STR)), "upper": Builtin(_text(STR)),
    "split": Builtin(_text(ListOf(STR)), 1, 2), "splitlines": Builtin(_text(ListOf(STR))),
    "startswith": Builtin(_text(BOOL), 2, 2), "endswith": Builtin(_text(BOOL), 2, 2),
    "replace": Builtin(_text(STR), 3, 3),
}  # fmt: skip

FILTERS: dict[str, Builtin] = {
    "join": Builtin(_shown_list, 1, 2, ("separator",)),
    "bullets": Builtin(_shown_list), "numbered": Builtin(_shown_list),
    "indent": Builtin(_text_int, 1, 2, ("width",)),
    "json": Builtin(_fixed(STR, wanted="")),
    "upper": Builtin(_text(STR)), "lower": Builtin(_text(STR)), "trim": Builtin(_text(STR)),
    "truncate": Builtin(_text_int, 2, 2, ("tokens",)),
}  # fmt: skip

# read where they stand, not computed by a scalar function
SPECIAL = ("embed", "env", "plan")

"""The one meaning of every pure function: arithmetic, comparison, lists, texts and filters.

Constant folding, the reference evaluation and the executor all call `apply`, so they cannot
disagree. Arguments and results are JSON data (`ir/types.py`); tuples are records with the fields
"0", "1", …. A function either gives a value or raises `ScalarError` with a message for people;
results are bounded in size, so a mistaken `range(10**12)` is an error and not the end of the
machine. A bool is never a number here, and no result is NaN or infinite.

    apply("add", ["ab", "c"], {}, {}) == "abc"
    apply("index", [[1, 2], 5], {}, {})       raises  index 5 is outside a list of 2
"""

import json as json_library
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from parrotc.ir.types import Json

MAX_ITEMS = 1_000_000
MAX_TEXT = 64_000_000  # characters
MAX_BITS = 4_096  # of an integer

Record = dict[str, Json]
ScalarFn = Callable[..., Json]


class ScalarError(Exception):
    """A function has no value for these arguments; the message says why."""


class Encoder(Protocol):
    """The part of a tokenizer that `truncate` needs."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


def apply(
    function: str,
    args: Sequence[Json],
    attrs: Mapping[str, Json],
    tokenizers: Mapping[str, Encoder],
) -> Json:
    """The value of `function`, or `ScalarError`.

    `attrs` are keyword arguments of the functions below; `tokenizers` are those of the program's
    models, by name, for `truncate`. Raises `KeyError` for a function that does not exist.
    """
    scalar = SCALARS[function]
    try:
        if function == "truncate":
            return truncate(*args, encoder=tokenizers.get(attrs["model"]))
        return scalar(*args, **attrs)
    except RecursionError:
        raise ScalarError(f"`{function}` got a value that is nested too deeply") from None


# --- what a value is, in words ---


def kind(value: Json) -> str:
    """The kind of a value, for messages: `a list`, `an int`, …"""
    match value:
        case None:
            return "None"
        case bool():
            return "a bool"
        case int():
            return "an int"
        case float():
            return "a float"
        case str():
            return "a text"
        case list():
            return "a list"
    return "a record"


def _number(value: Json, role: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScalarError(f"{role} must be a number, not {kind(value)}")
    return value


def _int(value: Json, role: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScalarError(f"{role} must be an int, not {kind(value)}")
    return value


def _text(value: Json, role: str = "the value") -> str:
    if not isinstance(value, str):
        raise ScalarError(f"{role} must be a text, not {kind(value)}")
    return value


def _list(value: Json, role: str = "the value") -> list[Json]:
    if not isinstance(value, list):
        raise ScalarError(f"{role} must be a list, not {kind(value)}")
    return value


def _bool(value: Json, role: str = "the value") -> bool:
    if not isinstance(value, bool):
        raise ScalarError(f"{role} must be a bool, not {kind(value)}")
    return value


# --- bounds ---


def _bounded_number(value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ScalarError("the result is too large for a float")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ScalarError(f"the result is an int of more than {MAX_BITS:,} bits")
    return value


def _room(count: int, limit: int, unit: str) -> None:
    if count > limit:
        raise ScalarError(f"the result would have {count:,} {unit}; the most is {limit:,}")


def _items_room(count: int) -> None:
    _room(count, MAX_ITEMS, "items")


def _text_room(count: int) -> None:
    _room(count, MAX_TEXT, "characters")


def _weight(value: Json) -> int:
    """How many values a value holds, itself included, counting shared parts every time."""
    if isinstance(value, list):
        return 1 + sum(map(_weight, value))
    if isinstance(value, dict):
        return 1 + sum(map(_weight, value.values()))
    return 1


def _joined(pieces: Sequence[str], separator: str = "") -> str:
    _text_room(sum(map(len, pieces)) + len(separator) * len(pieces))
    return separator.join(pieces)


# --- arithmetic ---


def add(a: Json, b: Json) -> Json:
    """The sum of numbers; texts and lists one after the other."""
    if isinstance(a, str) and isinstance(b, str):
        _text_room(len(a) + len(b))
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        _items_room(len(a) + len(b))
        return a + b
    return _arithmetic("+", a, b, lambda x, y: x + y)


def sub(a: Json, b: Json) -> Json:
    return _arithmetic("-", a, b, lambda x, y: x - y)


def mul(a: Json, b: Json) -> Json:
    """The product of numbers; a text or a list repeated an int number of times."""
    if isinstance(a, str | list):
        return _repeated(a, _int(b, "the right side of `*`"))
    if isinstance(b, str | list):
        return _repeated(b, _int(a, "the left side of `*`"))
    return _arithmetic("*", a, b, lambda x, y: x * y)


def _repeated(value: str | list[Json], count: int) -> Json:
    room = _text_room if isinstance(value, str) else _items_room
    room(len(value) * max(count, 0))
    return value * count


def div(a: Json, b: Json) -> Json:
    """True division, always a float."""
    if _number(b, "the right side of `/`") == 0:
        raise ScalarError("division by zero")
    return _arithmetic("/", a, b, lambda x, y: x / y)


def mod(a: Json, b: Json) -> Json:
    """The remainder, with the sign of the divisor."""
    if _number(b, "the right side of `%`") == 0:
        raise ScalarError("remainder of a division by zero")
    return _arithmetic("%", a, b, lambda x, y: x % y)


def _arithmetic(sign: str, a: Json, b: Json, rule: Callable[[Json, Json], int | float]) -> Json:
    left = _number(a, f"the left side of `{sign}`")
    right = _number(b, f"the right side of `{sign}`")
    try:
        return _bounded_number(rule(left, right))
    except OverflowError:
        raise ScalarError("the result is too large for a float") from None


def neg(a: Json) -> Json:
    return -_number(a, "what `-` is applied to")


# --- comparison ---


def eq(a: Json, b: Json) -> bool:
    """Equal as JSON data: 1 equals 1.0, and neither equals `true`."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(eq, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(eq(value, b[name]) for name, value in a.items())
    return bool(a == b)


def ne(a: Json, b: Json) -> bool:
    return not eq(a, b)


def lt(a: Json, b: Json) -> bool:
    return _order("<", a, b) < 0


def le(a: Json, b: Json) -> bool:
    return _order("<=", a, b) <= 0


def gt(a: Json, b: Json) -> bool:
    return _order(">", a, b) > 0


def ge(a: Json, b: Json) -> bool:
    return _order(">=", a, b) >= 0


def _order(sign: str, a: Json, b: Json) -> int:
    if not (isinstance(a, str) and isinstance(b, str)):
        if isinstance(a, str) or isinstance(b, str):
            raise ScalarError(f"`{sign}` cannot compare {kind(a)} with {kind(b)}")
        _number(a, f"the left side of `{sign}`")
        _number(b, f"the right side of `{sign}`")
    return int(a > b) - int(a < b)


def in_(item: Json, container: Json) -> bool:
    """Whether a list has an equal item, or a text contains a text."""
    if isinstance(container, list):
        return any(eq(item, other) for other in container)
    if not isinstance(container, str):
        raise ScalarError(f"`in` needs a list or a text on the right, not {kind(container)}")
    return _text(item, "the left side of `in`") in container


def not_in(item: Json, container: Json) -> bool:
    return not in_(item, container)


def not_(value: Json) -> bool:
    return not _bool(value, "what `not` is applied to")


# --- lists and records ---


def len_(value: Json) -> int:
    if not isinstance(value, list | str):
        raise ScalarError(f"`len` needs a list or a text, not {kind(value)}")
    return len(value)


def range_(start: Json, stop: Json = None, step: Json = 1) -> list[int]:
    """`range(stop)`, `range(start, stop)` or `range(start, stop, step)`, as in Python."""
    if stop is None:
        start, stop = 0, start
    if _int(step, "the step of `range`") == 0:
        raise ScalarError("the step of `range` must not be 0")
    numbers = range(_int(start, "the start of `range`"), _int(stop, "the stop of `range`"), step)
    count = max(0, -((numbers.start - numbers.stop) // step))  # len() fails above 2**63
    _items_room(count)
    return list(numbers)


def zip_(*lists: Json) -> list[Record]:
    """Tuples of the items at each place, as long as the shortest list."""
    columns = [_list(column, "what `zip` is given") for column in lists]
    return [_tuple(row) for row in zip(*columns, strict=False)]


def enumerate_(items: Json) -> list[Record]:
    return [_tuple(pair) for pair in enumerate(_list(items, "what `enumerate` is given"))]


def _tuple(values: Sequence[Json]) -> Record:
    return {str(place): value for place, value in enumerate(values)}


def list_(*items: Json) -> list[Json]:
    return list(items)


def record(*values: Json, names: Sequence[str]) -> Record:
    return dict(zip(names, values, strict=True))


def get(value: Json, *, field: str) -> Json:
    if not isinstance(value, dict):
        raise ScalarError(f"{kind(value)} has no field `{field}`")
    if field not in value:
        raise ScalarError(f"the record has no field `{field}`")
    return value[field]


def index(value: Json, place: Json) -> Json:
    """The item of a list or the character of a text; a negative place counts from the end."""
    if not isinstance(value, list | str):
        raise ScalarError(f"{kind(value)} cannot be indexed")
    at = _int(place, "an index")
    if not -len(value) <= at < len(value):
        raise ScalarError(f"index {at} is outside {kind(value)} of {len(value)}")
    return value[at]


def slice_(value: Json, start: Json, stop: Json) -> Json:
    """The part from `start` to before `stop`, either of which may be None."""
    if not isinstance(value, list | str):
        raise ScalarError(f"{kind(value)} cannot be sliced")
    first = None if start is None else _int(start, "the start of a slice")
    last = None if stop is None else _int(stop, "the end of a slice")
    return value[first:last]


def flatten(lists: Json) -> list[Json]:
    rows = [_list(row, "an item of what `flatten` is given") for row in _list(lists)]
    _items_room(sum(map(len, rows)))
    return [item for row in rows for item in row]


def repeat(value: Json, count: Json) -> list[Json]:
    """A list that holds `value` `count` times; empty for a negative count."""
    times = max(_int(count, "the count of `repeat`"), 0)
    _items_room(times * _weight(value))
    return [value] * times


def min_(*values: Json) -> Json:
    return _extreme("min", values, lt)


def max_(*values: Json) -> Json:
    return _extreme("max", values, gt)


def _extreme(name: str, values: Sequence[Json], better: Callable[[Json, Json], bool]) -> Json:
    """The first of the best: of one list, or of the arguments themselves."""
    items = _list(values[0], f"what `{name}` is given") if len(values) == 1 else values
    if not items:
        raise ScalarError(f"`{name}` of an empty list")
    best = items[0]
    for item in items[1:]:
        if better(item, best):
            best = item
    return best


def sum_(items: Json) -> Json:
    total: Json = 0
    for item in _list(items, "what `sum` is given"):
        total = add(total, _number(item, "an item of what `sum` is given"))
    return total


def any_(items: Json) -> bool:
    return any([_bool(item, "an item") for item in _list(items, "what `any` is given")])


def all_(items: Json) -> bool:
    return all([_bool(item, "an item") for item in _list(items, "what `all` is given")])


def sorted_(items: Json) -> list[Json]:
    """In ascending order, equal items as they came; numbers or texts, not both."""
    values = _list(items, "what `sorted` is given")
    for item in values:
        _order("sorted", item, values[0])
    return sorted(values)


# --- conversions ---


def show(value: Json) -> str:
    """The text a hole shows. A list needs a filter, and None is no text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    hint = "`join`, `bullets` or `numbered`" if isinstance(value, list) else "`json`"
    raise ScalarError(f"{kind(value)} cannot be shown as text; use {hint}")


def int_(value: Json) -> int:
    """An int from a decimal text, a float (cut towards zero) or a bool."""
    if not isinstance(value, int | float | str):
        raise ScalarError(f"{kind(value)} cannot become an int")
    if isinstance(value, str) and len(value) > 1_000:
        raise ScalarError("a text of more than 1,000 characters cannot become an int")
    try:
        return int(value)
    except ValueError:
        raise ScalarError(f"{_quoted(value)} is not an int") from None


def float_(value: Json) -> float:
    if not isinstance(value, int | float | str):
        raise ScalarError(f"{kind(value)} cannot become a float")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise ScalarError(f"{_quoted(value)} is not a float") from None
    if not math.isfinite(result):
        raise ScalarError(f"{_quoted(value)} is not a finite float")
    return result


def _quoted(value: Json) -> str:
    text = json_library.dumps(value, ensure_ascii=False) if isinstance(value, str) else show(value)
    return text if len(text) <= 60 else text[:59] + "…"


def round_(value: Json, digits: Json = None) -> Json:
    """The nearest int, or the nearest number with `digits` decimals; ties to the even one."""
    number = _number(value, "what `round` is given")
    if digits is None:
        return round(number)
    places = max(-400, min(400, _int(digits, "the digits of `round`")))
    try:
        return _bounded_number(round(number, places))
    except OverflowError:
        raise ScalarError("the result is too large for a float") from None


def doc(member: Json, *, docs: Sequence[tuple[str, str]]) -> str:
    """The description of an enum's member; `docs` are pairs of member and description."""
    return dict(docs).get(_text(member), "")


# --- texts and filters ---


def format_(*values: Json, texts: Sequence[str]) -> str:
    """`texts[0]`, the first value shown, `texts[1]`, …: one text more than values."""
    pieces = [texts[0]]
    for value, text in zip(values, texts[1:], strict=True):
        pieces += (show(value), text)
    return _joined(pieces)


def json(value: Json) -> str:
    """The value as JSON text on one line."""
    pieces, size = [], 0
    for piece in json_library.JSONEncoder(ensure_ascii=False).iterencode(value):
        size += len(piece)
        _text_room(size)
        pieces.append(piece)
    return "".join(pieces)


def upper(text: Json) -> str:
    return _text(text).upper()


def lower(text: Json) -> str:
    return _text(text).lower()


def strip(text: Json, characters: Json = None) -> str:
    """Without white space (or any of `characters`) at both ends."""
    return _text(text).strip(_optional_text(characters))


def lstrip(text: Json) -> str:
    return _text(text).lstrip()


def rstrip(text: Json) -> str:
    return _text(text).rstrip()


def _optional_text(value: Json) -> str | None:
    return None if value is None else _text(value, "the argument")


def split(text: Json, separator: Json = None) -> list[str]:
    """The texts between `separator`s, or between runs of white space."""
    if separator == "":
        raise ScalarError("the separator of `split` must not be empty")
    parts = _text(text).split(_optional_text(separator))
    _items_room(len(parts))
    return parts


def splitlines(text: Json) -> list[str]:
    parts = _text(text).splitlines()
    _items_room(len(parts))
    return parts


def startswith(text: Json, prefix: Json) -> bool:
    return _text(text).startswith(_text(prefix, "the prefix"))


def endswith(text: Json, suffix: Json) -> bool:
    return _text(text).endswith(_text(suffix, "the suffix"))


def replace(text: Json, old: Json, new: Json) -> str:
    whole, before, after = _text(text), _text(old, "the old text"), _text(new, "the new text")
    _text_room(len(whole) + whole.count(before) * (len(after) - len(before)))
    return whole.replace(before, after)


def join(items: Json, separator: Json = "") -> str:
    return _joined(_shown(items), _text(separator, "the separator"))


def bullets(items: Json) -> str:
    """One line `- item` for each item."""
    return _joined([f"- {text}" for text in _shown(items)], "\n")


def numbered(items: Json) -> str:
    """One line `1. item` for each item, counting from 1."""
    return _joined([f"{n}. {text}" for n, text in enumerate(_shown(items), 1)], "\n")


def _shown(items: Json) -> list[str]:
    return [show(item) for item in _list(items)]


def indent(text: Json, width: Json = 4) -> str:
    """Every line that is not empty, moved `width` spaces to the right."""
    lines = _text(text).split("\n")
    margin = max(_int(width, "the width of `indent`"), 0)
    _text_room(len(text) + margin * len(lines))
    return "\n".join(" " * margin + line if line else line for line in lines)


def truncate(text: Json, tokens: Json, *, encoder: Encoder | None) -> str:
    """The longest start of `text` that is made of at most `tokens` of its first tokens.

    A token that holds part of a character is dropped with it.
    """
    whole, limit = _text(text), max(_int(tokens, "the tokens of `truncate`"), 0)
    if encoder is None:
        raise ScalarError("`truncate` counts tokens, and this model has no tokenizer here")
    ids = encoder.encode(whole)
    if len(ids) <= limit:
        return whole
    start = encoder.decode(ids[:limit])
    while not whole.startswith(start):
        limit -= 1
        start = encoder.decode(ids[:limit])
    return start


SCALARS: dict[str, ScalarFn] = {
    "add": add, "sub": sub, "mul": mul, "div": div, "mod": mod, "neg": neg,
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge,
    "in": in_, "not_in": not_in, "not": not_,
    "len": len_, "range": range_, "zip": zip_, "enumerate": enumerate_,
    "str": show, "int": int_, "float": float_, "round": round_,
    "min": min_, "max": max_, "sum": sum_, "any": any_, "all": all_, "sorted": sorted_,
    "list": list_, "record": record, "get": get, "index": index, "slice": slice_,
    "flatten": flatten, "repeat": repeat, "show": show, "format": format_, "doc": doc,
    "json": json, "upper": upper, "lower": lower, "trim": strip, "strip": strip,
    "lstrip": lstrip, "rstrip": rstrip, "split": split, "splitlines": splitlines,
    "startswith": startswith, "endswith": endswith, "replace": replace,
    "join": join, "bullets": bullets, "numbered": numbered, "indent": indent,
    "truncate": truncate,
}  # fmt: skip

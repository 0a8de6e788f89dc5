"""Functions of numbers, truths, lists and records: see `ir/scalar.py`."""

from collections.abc import Callable, Sequence

from parrotc.ir.scalar_checks import (
    ScalarError,
    bounded,
    integer,
    items_of,
    items_room,
    kind,
    number,
    text_of,
    text_room,
    truth,
    weight,
)
from parrotc.ir.types import Json

Record = dict[str, Json]


# --- arithmetic ---


def add(a: Json, b: Json) -> Json:
    """The sum of numbers; texts and lists one after the other."""
    if isinstance(a, str) and isinstance(b, str):
        text_room(len(a) + len(b))
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        items_room(len(a) + len(b))
        return a + b
    return _arithmetic("+", a, b, lambda x, y: x + y)


def sub(a: Json, b: Json) -> Json:
    return _arithmetic("-", a, b, lambda x, y: x - y)


def mul(a: Json, b: Json) -> Json:
    """The product of numbers; a text or a list repeated an int number of times."""
    if isinstance(a, str | list):
        return _repeated(a, integer(b, "the right side of `*`"))
    if isinstance(b, str | list):
        return _repeated(b, integer(a, "the left side of `*`"))
    return _arithmetic("*", a, b, lambda x, y: x * y)


def _repeated(value: str | list[Json], count: int) -> Json:
    room = text_room if isinstance(value, str) else items_room
    times = max(count, 0)
    room(len(value) * times)
    return value * times if value else value  # Python counts no further than 2**63, also for ""


def div(a: Json, b: Json) -> Json:
    """True division, always a float."""
    if number(b, "the right side of `/`") == 0:
        raise ScalarError("division by zero")
    return _arithmetic("/", a, b, lambda x, y: x / y)


def mod(a: Json, b: Json) -> Json:
    """The remainder, with the sign of the divisor."""
    if number(b, "the right side of `%`") == 0:
        raise ScalarError("remainder of a division by zero")
    return _arithmetic("%", a, b, lambda x, y: x % y)


def _arithmetic(sign: str, a: Json, b: Json, rule: Callable[[Json, Json], int | float]) -> Json:
    left = number(a, f"the left side of `{sign}`")
    right = number(b, f"the right side of `{sign}`")
    try:
        return bounded(rule(left, right))
    except OverflowError:
        raise ScalarError("the result is too large for a float") from None


def neg(a: Json) -> Json:
    return -number(a, "what `-` is applied to")


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
        number(a, f"the left side of `{sign}`")
        number(b, f"the right side of `{sign}`")
    return int(a > b) - int(a < b)


def in_(item: Json, container: Json) -> bool:
    """Whether a list has an equal item, or a text contains a text."""
    if isinstance(container, list):
        return any(eq(item, other) for other in container)
    if not isinstance(container, str):
        raise ScalarError(f"`in` needs a list or a text on the right, not {kind(container)}")
    return text_of(item, "the left side of `in`") in container


def not_in(item: Json, container: Json) -> bool:
    return not in_(item, container)


def not_(value: Json) -> bool:
    return not truth(value, "what `not` is applied to")


# --- lists and records ---


def len_(value: Json) -> int:
    if not isinstance(value, list | str):
        raise ScalarError(f"`len` needs a list or a text, not {kind(value)}")
    return len(value)


def range_(start: Json, stop: Json = None, step: Json = 1) -> list[int]:
    """`range(stop)`, `range(start, stop)` or `range(start, stop, step)`, as in Python."""
    if stop is None:
        start, stop = 0, start
    if integer(step, "the step of `range`") == 0:
        raise ScalarError("the step of `range` must not be 0")
    numbers = range(
        integer(start, "the start of `range`"), integer(stop, "the stop of `range`"), step
    )
    count = max(0, -((numbers.start - numbers.stop) // step))  # len() fails above 2**63
    items_room(count)
    return list(numbers)


def zip_(*lists: Json) -> list[Record]:
    """Tuples of the items at each place, as long as the shortest list."""
    columns = [items_of(column, "what `zip` is given") for column in lists]
    return [_tuple(row) for row in zip(*columns, strict=False)]


def enumerate_(items: Json) -> list[Record]:
    return [_tuple(pair) for pair in enumerate(items_of(items, "what `enumerate` is given"))]


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


def as_(value: Json) -> Json:
    """The value itself, as one of the type that the result has."""
    return value


def present(value: Json) -> Json:
    """The value of an optional that a condition has shown to have one."""
    if value is None:
        raise ScalarError("the value is None")
    return value


def index(value: Json, place: Json) -> Json:
    """The item of a list or the character of a text; a negative place counts from the end."""
    if not isinstance(value, list | str):
        raise ScalarError(f"{kind(value)} cannot be indexed")
    at = integer(place, "an index")
    if not -len(value) <= at < len(value):
        raise ScalarError(f"index {at} is outside {kind(value)} of {len(value)}")
    return value[at]


def slice_(value: Json, start: Json, stop: Json) -> Json:
    """The part from `start` to before `stop`, either of which may be None."""
    if not isinstance(value, list | str):
        raise ScalarError(f"{kind(value)} cannot be sliced")
    first = None if start is None else integer(start, "the start of a slice")
    last = None if stop is None else integer(stop, "the end of a slice")
    return value[first:last]


def flatten(lists: Json) -> list[Json]:
    rows = [items_of(row, "an item of what `flatten` is given") for row in items_of(lists)]
    items_room(sum(map(len, rows)))
    return [item for row in rows for item in row]


def repeat(value: Json, count: Json) -> list[Json]:
    """A list that holds `value` `count` times; empty for a negative count."""
    times = max(integer(count, "the count of `repeat`"), 0)
    items_room(times * weight(value))
    return [value] * times


def min_(*values: Json) -> Json:
    return _extreme("min", values, lt)


def max_(*values: Json) -> Json:
    return _extreme("max", values, gt)


def _extreme(name: str, values: Sequence[Json], better: Callable[[Json, Json], bool]) -> Json:
    """The first of the best: of one list, or of the arguments themselves."""
    items = items_of(values[0], f"what `{name}` is given") if len(values) == 1 else values
    if not items:
        raise ScalarError(f"`{name}` of an empty list")
    best = items[0]
    for item in items[1:]:
        if better(item, best):
            best = item
    return best


def sum_(items: Json) -> Json:
    total: Json = 0
    for item in items_of(items, "what `sum` is given"):
        total = add(total, number(item, "an item of what `sum` is given"))
    return total


def any_(items: Json) -> bool:
    return any([truth(item, "an item") for item in items_of(items, "what `any` is given")])


def all_(items: Json) -> bool:
    return all([truth(item, "an item") for item in items_of(items, "what `all` is given")])


def sorted_(items: Json) -> list[Json]:
    """In ascending order, equal items as they came; numbers or texts, not both."""
    values = items_of(items, "what `sorted` is given")
    for item in values:
        _order("sorted", item, values[0])
    return sorted(values)

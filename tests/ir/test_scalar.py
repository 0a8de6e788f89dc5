"""Every pure function: what it gives, what it refuses, and that it never runs away."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrotc.ir.scalar import SCALARS, ScalarError, apply
from parrotc.ir.scalar_checks import MAX_BITS, MAX_ITEMS


class Words:
    """A tokenizer with a token for each byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")


def call(function: str, *args: Any, **attrs: Any) -> Any:
    return apply(function, args, attrs, {"m": Words()})


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        ("add", (1, 2.5), 3.5),
        ("add", ("a", "b"), "ab"),
        ("add", ([1], [2]), [1, 2]),
        ("sub", (1, 2), -1),
        ("mul", (3, 2), 6),
        ("mul", ("ab", 2), "abab"),
        ("mul", (2, [1]), [1, 1]),
        ("mul", ("ab", -1), ""),
        ("mul", ("ab", -(2**64)), ""),
        ("mul", (2**64, ""), ""),
        ("div", (1, 2), 0.5),
        ("div", (4, 2), 2.0),
        ("mod", (-1, 3), 2),
        ("neg", (2,), -2),
        ("eq", (1, 1.0), True),
        ("eq", (1, True), False),
        ("eq", ([1, {"a": 1}], [1.0, {"a": 1.0}]), True),
        ("eq", ([True], [1]), False),
        ("eq", (None, False), False),
        ("ne", ("a", "b"), True),
        ("lt", (1, 1.5), True),
        ("lt", ("a", "b"), True),
        ("le", (2, 2), True),
        ("gt", ("a", "b"), False),
        ("ge", (2, 3), False),
        ("in", (1.0, [1, 2]), True),
        ("in", (True, [1, 2]), False),
        ("in", ("b", "abc"), True),
        ("not_in", ("x", ["y"]), True),
        ("not", (False,), True),
        ("len", ([1, 2],), 2),
        ("len", ("né",), 2),
        ("range", (3,), [0, 1, 2]),
        ("range", (-3,), []),
        ("range", (1, 4), [1, 2, 3]),
        ("range", (5, 0, -2), [5, 3, 1]),
        ("zip", ([1, 2], ["a"]), [{"0": 1, "1": "a"}]),
        ("enumerate", (["a"],), [{"0": 0, "1": "a"}]),
        ("str", (True,), "true"),
        ("int", (" 42 ",), 42),
        ("int", (-1.9,), -1),
        ("float", ("1e3",), 1000.0),
        ("round", (2.5,), 2),
        ("round", (2.675, 2), 2.67),
        ("round", (1234, -2), 1200),
        ("min", ([3, 1, 2],), 1),
        ("max", (1, 3, 2), 3),
        ("max", (["b", "a"],), "b"),
        ("sum", ([1, 2.5],), 3.5),
        ("sum", ([],), 0),
        ("any", ([False, True],), True),
        ("all", ([],), True),
        ("sorted", ([3, 1.5, 2],), [1.5, 2, 3]),
        ("sorted", ([],), []),
        ("list", (1, "a"), [1, "a"]),
        ("index", ([1, 2], -1), 2),
        ("index", ("abc", 1), "b"),
        ("slice", ([1, 2, 3], 1, None), [2, 3]),
        ("slice", ("abc", None, -1), "ab"),
        ("slice", ("abc", 5, 9), ""),
        ("flatten", ([[1], [], [2]],), [1, 2]),
        ("repeat", ("a", 2), ["a", "a"]),
        ("repeat", ("a", -2), []),
        ("show", (1.0,), "1.0"),
        ("show", (10**20,), "100000000000000000000"),
        ("json", ({"a": ["é", None]},), '{"a": ["é", null]}'),
        ("upper", ("aß",), "ASS"),
        ("lower", ("AB",), "ab"),
        ("trim", (" a\n",), "a"),
        ("strip", ("xax", "x"), "a"),
        ("lstrip", (" a ",), "a "),
        ("rstrip", (" a ",), " a"),
        ("split", (" a  b",), ["a", "b"]),
        ("split", ("a,,b", ","), ["a", "", "b"]),
        ("splitlines", ("a\nb\n",), ["a", "b"]),
        ("startswith", ("abc", "ab"), True),
        ("endswith", ("abc", "ab"), False),
        ("replace", ("aa", "a", "bb"), "bbbb"),
        ("join", ([1, True, "x"], "; "), "1; true; x"),
        ("join", (["a", "b"],), "ab"),
        ("bullets", (["a", "b"],), "- a\n- b"),
        ("numbered", (["a", "b"],), "1. a\n2. b"),
        ("indent", ("a\n\nb",), "    a\n\n    b"),
        ("indent", ("a", 2), "  a"),
    ],
)
def test_values(function: str, args: tuple[Any, ...], value: Any) -> None:
    got = call(function, *args)
    assert got == value and type(got) is type(value)


def test_attributes() -> None:
    assert call("record", 1, "x", names=("a", "b")) == {"a": 1, "b": "x"}
    assert call("get", {"a": 1}, field="a") == 1
    assert call("format", 1, "x", texts=("<", "|", ">")) == "<1|x>"
    assert call("doc", "A", docs=(("A", "first"), ("B", "second"))) == "first"
    assert call("truncate", "hello", 3, model="m") == "hel"
    assert call("truncate", "né", 2, model="m") == "n"  # half of `é` goes
    assert call("truncate", "né", 3, model="m") == "né"
    assert call("truncate", "abc", -1, model="m") == ""


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        ("add", (1, "a"), "the right side of `+` must be a number, not a text"),
        ("add", (True, 1), "the left side of `+` must be a number, not a bool"),
        ("div", (1, 0), "division by zero"),
        ("div", (10**400, 3), "the result is too large for a float"),
        ("mod", (1, 0.0), "division by zero"),
        ("mul", (1e308, 10.0), "the result is too large for a float"),
        ("lt", (1, "a"), "`<` cannot compare an int with a text"),
        ("lt", ([1], [2]), "must be a number, not a list"),
        ("lt", (True, 2), "must be a number, not a bool"),
        ("in", (1, "abc"), "the left side of `in` must be a text, not an int"),
        ("in", (1, {"a": 1}), "needs a list or a text"),
        ("not", (1,), "must be a bool, not an int"),
        ("index", ([1, 2], 2), "index 2 is outside a list of 2"),
        ("index", ("", 0), "index 0 is outside a text of 0"),
        ("index", ([1], True), "an index must be an int, not a bool"),
        ("min", ([],), "`min` of an empty list"),
        ("max", (5,), "must be a list, not an int"),
        ("sum", ([1, "a"],), "must be a number, not a text"),
        ("any", ([1],), "an item must be a bool"),
        ("sorted", ([1, "a"],), "cannot compare"),
        ("int", ("4.5",), '"4.5" is not an int'),
        ("int", ("9" * 5000,), "cannot become an int"),
        ("int", (None,), "None cannot become an int"),
        ("float", ("nan",), "is not a finite float"),
        ("float", ("x",), "is not a float"),
        ("show", (None,), "None cannot be shown as text; use `json`"),
        ("show", ([1],), "use `join`, `bullets` or `numbered`"),
        ("join", (["a", None],), "None cannot be shown"),
        ("range", (0, 5, 0), "must not be 0"),
        ("range", (2.0,), "must be an int, not a float"),
        ("split", ("a", ""), "must not be empty"),
        ("zip", ([1], 2), "must be a list, not an int"),
        ("upper", (1,), "must be a text, not an int"),
    ],
)
def test_refusals(function: str, args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ScalarError) as caught:
        call(function, *args)
    assert message in str(caught.value)


def test_refusals_of_attributes() -> None:
    with pytest.raises(ScalarError, match="the record has no field `b`"):
        call("get", {"a": 1}, field="b")
    with pytest.raises(ScalarError, match="a list has no field `b`"):
        call("get", [], field="b")
    with pytest.raises(ScalarError, match="no tokenizer here"):
        call("truncate", "a", 1, model="other")


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("range", (10**12,)),
        ("range", (-(10**30), 10**30)),
        ("mul", ("abc", 10**12)),
        ("mul", ([1, 2], 10**12)),
        ("repeat", ([0] * 1000, 10**4)),
        ("mul", (2 ** (MAX_BITS - 1), 4)),
        ("replace", ("a" * 10**5, "a", "b" * 10**5)),
        ("join", (["a" * 10**5] * 1000, "")),
        ("indent", ("\n".join("ab" * 500), 10**9)),
        ("flatten", ([[0] * 10**5] * 11,)),
        ("json", ([[["a" * 10**6] * 100] * 100],)),
    ],
)
def test_giant_results_are_refused_at_once(function: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(ScalarError, match=r"the most is|more than|too large"):
        call(function, *args)


def test_the_largest_list_is_allowed() -> None:
    assert len(call("range", MAX_ITEMS)) == MAX_ITEMS


def test_deep_values_are_an_error_not_a_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for function, args in (("json", [deep]), ("repeat", [deep, 1]), ("eq", [deep, [deep]])):
        with pytest.raises(ScalarError, match="nested too deeply"):
            call(function, *args)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)
PLAIN = sorted(set(SCALARS) - {"record", "get", "format", "doc", "truncate", "ids"})
ARITY = {
    "zip": (1, 3),
    "list": (0, 3),
    "range": (1, 3),
    "min": (1, 3),
    "max": (1, 3),
    "slice": (3, 3),
}
ARITY |= {"replace": (3, 3), "round": (1, 2), "split": (1, 2), "join": (1, 2), "indent": (1, 2)}
ARITY |= {"strip": (1, 2), "trim": (1, 2)}
PAIRS = {"add", "sub", "mul", "div", "mod", "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in"}
PAIRS |= {"index", "repeat", "startswith", "endswith"}


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(PLAIN), st.data())
def test_any_values_give_data_or_a_scalar_error(function: str, data: st.DataObject) -> None:
    least, most = ARITY.get(function, (2, 2) if function in PAIRS else (1, 1))
    args = data.draw(st.lists(VALUES, min_size=least, max_size=most))
    copies = repr(args)
    try:
        value = call(function, *args)
    except ScalarError as error:
        assert str(error)
        return
    assert is_data(value)
    assert repr(args) == copies, "arguments must not be changed"


def is_data(value: Any) -> bool:
    match value:
        case None | bool() | str() | int():
            return True
        case float():
            return math.isfinite(value)
        case list():
            return all(map(is_data, value))
        case dict():
            return all(isinstance(k, str) and is_data(v) for k, v in value.items())
    return False

"""Symbolic counts agree with plain numbers, whatever the sizes are."""

from hypothesis import given
from hypothesis import strategies as st

from parrotc.ir.symbolic import Most, Symbolic, lift, most, size

SIZES = ("n", "m")


def polynomials() -> st.SearchStrategy[Symbolic]:
    leaf = st.one_of(st.integers(-4, 9).map(lift), st.sampled_from(SIZES).map(size))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(lambda a, b: a + b, inner, inner), st.builds(lambda a, b: a * b, inner, inner)
        ),
        max_leaves=6,
    )


POINTS = st.fixed_dictionaries({name: st.integers(1, 7) for name in SIZES})


def value(polynomial: Symbolic, point: dict[str, int]) -> float:
    constant = polynomial.at(point).constant
    assert constant is not None
    return constant


@given(polynomials(), polynomials(), POINTS)
def test_arithmetic_is_that_of_numbers(a: Symbolic, b: Symbolic, point: dict[str, int]) -> None:
    assert value(a + b, point) == value(a, point) + value(b, point)
    assert value(a - b, point) == value(a, point) - value(b, point)
    assert value(a * b, point) == value(a, point) * value(b, point)
    assert a + b == b + a and a * b == b * a


@given(polynomials(), polynomials(), POINTS)
def test_what_covers_is_never_smaller(a: Symbolic, b: Symbolic, point: dict[str, int]) -> None:
    if a.covers(b):
        assert value(a, point) >= value(b, point)


@given(st.lists(polynomials(), min_size=1, max_size=4), POINTS)
def test_most_is_the_maximum(options: list[Symbolic], point: dict[str, int]) -> None:
    largest = most(options).at(point).constant
    assert largest == max(value(option, point) for option in options)


def test_how_they_read() -> None:
    n, m = size("parts"), size("part")
    assert str(n * (m + 31) + 17) == "|part|·|parts| + 31·|parts| + 17"
    assert str(lift(0)) == "0" and str(n - 1) == "|parts| - 1"
    assert str(Most((lift(2),)) | Most((n,))) == "max(2, |parts|)"
    assert str(Most((lift(2),)) | Most((n * 3,))) == "3·|parts|"
    assert (n * m + n).sizes() == {"parts", "part"}

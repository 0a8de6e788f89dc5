"""Types of values that generations are asked for: those that a constraint must say."""

from hypothesis import strategies as st

from parrotc.ir.types import (
    BOOL,
    FLOAT,
    INT,
    NONE,
    STR,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    ListOf,
    Member,
    Optional,
    Record,
    Str,
    Type,
)

ODD = (
    "",
    " ",
    "a",
    "ab",
    "abc",
    '"',
    "\\",
    "/",
    "\n",
    "\x00",
    "\x7f",
    "\u2028",
    "日本🙂",
    "é",
    "[x]",
)

TOPIC = Enum("Topic", (Member("A", "first"), Member("Longer")))
BOUNDS = st.tuples(st.integers(-90_000, 90_000), st.integers(-90_000, 90_000)).map(sorted)
NEAR = st.tuples(st.integers(-120, 120), st.integers(0, 150)).map(lambda b: (b[0], sum(b)))
TYPES: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from(
        [
            STR,
            INT,
            FLOAT,
            BOOL,
            NONE,
            TOPIC,
            Choice(ODD),
            Str(r"\w+[^\W\d]|\d{2}/\d"),
            Str("(?i:é)a?"),
        ]
    )
    | st.builds(Str, st.none(), st.integers(0, 4))
    | st.builds(Int, st.integers(-9, 9), st.none())
    | st.builds(Int, st.none(), st.integers(-1000, 1000))
    | (BOUNDS | NEAR).map(lambda b: Int(*b))
    | NEAR.map(lambda b: Float(b[0] / 8, b[1] / 8)),
    lambda inner: (
        st.builds(ListOf, inner, st.none() | st.integers(0, 3))
        | st.builds(Optional, inner)
        | st.builds(
            lambda a, b: Record("", (Field("x", a), Field("enum", Optional(b), "doc", None, True))),
            inner,
            inner,
        )
    ),
    max_leaves=5,
)

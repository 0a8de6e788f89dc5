"""Seams between messages are cut so that every pair spells what the template writes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parrotc.ir.ops import Value
from parrotc.ir.types import CONTEXT
from parrotc.passes.seams import Seams, cut

NAMES = [Value(f"m{n}", CONTEXT) for n in range(5)]
UNITS = st.lists(st.sampled_from(("<s>", "</s>", "a", "b")), max_size=3).map(tuple)


@st.composite
def possible(draw: st.DrawFn) -> Seams:
    """Seams that have a cut: made from ends and beginnings."""
    ends = {one: draw(UNITS) for one in NAMES}
    begins = {one: draw(UNITS) for one in NAMES}
    pairs = draw(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1))
    return {(a, b): ends[a] + begins[b] for a, b in sorted(pairs, key=str)}


@settings(max_examples=400, deadline=None)
@given(seams=possible())
def test_a_cut_is_found_where_there_is_one(seams: Seams) -> None:
    found = cut(seams)
    assert found is not None
    ends, begins = found
    assert {(a, b): ends[a] + begins[b] for a, b in seams} == seams


@settings(max_examples=400, deadline=None)
@given(
    seams=st.dictionaries(
        st.tuples(st.sampled_from(NAMES[:3]), st.sampled_from(NAMES[:3])), UNITS, min_size=1
    )
)
def test_a_cut_spells_every_seam_or_there_is_none(seams: Seams) -> None:
    found = cut(seams)
    if found is None:
        return
    ends, begins = found
    assert {(a, b): ends[a] + begins[b] for a, b in seams} == seams


def test_as_much_as_possible_begins_a_message() -> None:
    a, b, c, _, _ = NAMES
    assert cut({(a, b): ("x", "y")}) == ({a: ()}, {b: ("x", "y")})
    assert cut({(a, c): ("<s>", "y"), (b, c): ("</s>", "y")}) == (
        {a: ("<s>",), b: ("</s>",)},
        {c: ("y",)},
    )
    assert cut({(a, c): ("x",), (b, c): ("y",), (a, b): ("y",)}) is None

"""Places in text are right, and a finding reads well."""

from hypothesis import given
from hypothesis import strategies as st

from parrotc.ir.diagnostic import CompileError, Diagnostic, Label, Level
from parrotc.ir.source import Source, Span

PROGRAM = Source("ask.pfn", "one = 1\ntwo = oen\n\nthree = 3\n")


def at(word: str, source: Source = PROGRAM) -> Span:
    start = source.text.index(word)
    return Span(source, start, start + len(word))


@given(st.text(alphabet="ab\n\u20ac\U0001f600"), st.data())
def test_position_counts_as_an_editor_does(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    before = text[:offset].split("\n")
    source = Source("t", text)
    assert source.position(offset) == (len(before), len(before[-1]) + 1)
    assert source.line(len(before)) == text.split("\n")[len(before) - 1]
    assert source.line_count() == text.count("\n") + 1


def test_spans_join_and_print() -> None:
    span = at("two").to(at("oen"))
    assert (span.text(), str(span)) == ("two = oen", "ask.pfn:2:1")


def test_a_finding_shows_the_users_text_in_line_order() -> None:
    found = Diagnostic(
        "E0301",
        "nothing is called `oen`",
        at("oen"),
        "read here",
        labels=(Label(at("one"), "defined here"), Label(at("three"), "and this")),
        notes=("names are case-sensitive",),
        help="did you mean `one`?",
    )
    assert found.level is Level.ERROR
    assert found.render() == "\n".join(
        [
            "error[E0301]: nothing is called `oen`",
            " --> ask.pfn:2:7",
            "  |",
            "1 | one = 1",
            "  | --- defined here",
            "2 | two = oen",
            "  |       ^^^ read here",
            "...",
            "4 | three = 3",
            "  | ----- and this",
            "  = note: names are case-sensitive",
            "help: did you mean `one`?",
        ]
    )


def test_a_label_in_another_file_names_it() -> None:
    other = Source("std/text.pfn", "chunk\n")
    found = Diagnostic("W0501", "shadowed", at("one"), labels=(Label(at("chunk", other), "there"),))
    assert found.level is Level.WARNING
    assert "  ::: std/text.pfn:1:1: there" in found.render()


def test_tabs_and_spans_past_the_line_keep_the_marks_aligned() -> None:
    source = Source("t", "\tx = (\n  1\n")
    found = Diagnostic("E0101", "this is never closed", Span(source, 5, 10))
    assert found.render().splitlines()[3:5] == ["1 |     x = (", "  |         ^"]


def test_without_a_place_only_the_fact_is_left() -> None:
    found = Diagnostic("E0100", "`a.pfn` cannot be read", help="check the path")
    assert found.render() == "error[E0100]: `a.pfn` cannot be read\nhelp: check the path"


def test_one_exception_carries_every_finding() -> None:
    error = CompileError([Diagnostic("E0101", "a"), Diagnostic("E0102", "b")])
    assert str(error) == "error[E0101]: a\n\nerror[E0102]: b"
    assert [d.code for d in error.diagnostics] == ["E0101", "E0102"]

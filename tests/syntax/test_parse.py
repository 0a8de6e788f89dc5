"""What case files cannot show: line ends, places, cutting, and inputs that are large or hostile."""

import gc
import re
from pathlib import Path
from time import perf_counter

import pytest

from parrotc.ir.collector import paused
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source
from parrotc.syntax.dump import dump
from parrotc.syntax.parse import cut, parse
from parrotc.syntax.scan import MAX_DEPTH
from parrotc.syntax.tree import FlowDecl, Node, PfuncDecl, Return, Show, Tree, children

HEAD = "pfunc f(x: str) -> str:\n    "
SIZE = 5_000_000
EXAMPLE = '''\
# a comment
const A = "x"

@latency
flow f(x: str) -> str:
    return g(x)

pfunc g(x: str) -> str:
    user """
        One: {{ x | upper }}
          two {{ x +
             "y" }}
        """
    assistant "{{gen}}"
'''


def walk(node: Node) -> list[Node]:
    return [node, *(below for child in children(node) for below in walk(child))]


def nodes(tree: Tree) -> list[Node]:
    return [below for item in tree.items for below in walk(item)]


def codes(text: str) -> list[str]:
    return [finding.code for finding in parse(Source("t.pfn", text))[1]]


def test_windows_line_ends_mean_the_same() -> None:
    unix, found = parse(Source("t.pfn", EXAMPLE))
    windows, found_windows = parse(Source("t.pfn", EXAMPLE.replace("\n", "\r\n")))
    assert found == found_windows == ()
    assert dump(windows) == dump(unix)


@pytest.mark.parametrize("text", [EXAMPLE, EXAMPLE.removeprefix("# a comment\n")])
def test_a_byte_order_mark_is_skipped(text: str) -> None:
    tree, found = parse(Source("t.pfn", "\ufeff" + text))
    assert found == ()
    assert dump(tree) == dump(parse(Source("t.pfn", text))[0])


def test_spans_hold_exactly_the_text_of_their_node() -> None:
    tree, _ = parse(Source("t.pfn", EXAMPLE))
    flow, pfunc = tree.items[1:]
    assert isinstance(flow, FlowDecl) and isinstance(pfunc, PfuncDecl)
    assert flow.span.text() == EXAMPLE[EXAMPLE.index("@latency") : EXAMPLE.index("\n\npfunc")]
    assert flow.name_span.text() == "f"
    assert isinstance(flow.body[0], Return)
    assert flow.body[0].value.span.text() == "g(x)"
    assert pfunc.params[0].span.text() == "x: str"
    assert pfunc.span.text().endswith('"{{gen}}"')


def test_places_in_holes_are_those_of_the_file() -> None:
    tree, _ = parse(Source("t.pfn", EXAMPLE))
    shows = [node for node in nodes(tree) if isinstance(node, Show)]
    assert [show.span.text() for show in shows] == [
        "{{ x | upper }}",
        '{{ x +\n             "y" }}',
    ]
    assert shows[0].value.span.position() == (10, 17)
    assert shows[0].filters[0].span.text() == "upper"
    assert [below.span.position() for below in walk(shows[1].value)] == [
        (11, 18),
        (11, 18),
        (12, 14),
    ]


def test_a_file_is_cut_where_the_first_column_has_a_letter() -> None:
    text = "#c\nconst A = 1\n@a\n# d\n@b\nflow f() -> str:\n    x\n)\n_x"
    chunks = cut(text)
    assert [text[chunk.start : chunk.end] for chunk in chunks] == [
        "const A = 1\n",
        "@a\n# d\n@b\nflow f() -> str:\n    x\n)\n",
        "_x",
    ]
    assert text[chunks[1].head :].startswith("flow")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('"' * SIZE, "E0201"),
        ('"' + "{{" * (SIZE // 2), "E0204"),
        ('"' + "{{" * (SIZE // 2) + '"', "E0204"),
        ('"' + "{{a}}" * (SIZE // 5), "E0206"),
        ('"' + '{{"a"}}' * (SIZE // 7), "E0206"),
        ('"' + "\\" * SIZE, "E0206"),
        ('"""\n    ' + "{{" * (SIZE // 2) + '\n    """', "E0204"),
        ('"""\n' + '    """x\n' * (SIZE // 9), "E0208"),
        ("{{" * (SIZE // 2), "E0110"),
    ],
    ids=lambda value: value[:12] if len(value) > 5 else value,
)
def test_five_megabytes_take_linear_time(body: str, code: str) -> None:
    """Backtracking would take hours; the bound leaves room for a busy machine."""
    started = perf_counter()
    assert codes(HEAD + body)[:1] == [code]
    assert perf_counter() - started < 10


def test_many_texts_on_one_line_take_linear_time() -> None:
    started = perf_counter()
    parse(Source("t.pfn", HEAD + 'r"' * 200_000))
    assert perf_counter() - started < 10


@pytest.mark.parametrize(
    "value",
    [
        "(" * 10_000,
        "(" * 10_000 + "x" + ")" * 10_000,
        "[" * 10_000,
        "-" * 10_000 + "x",
        "not " * 10_000 + "x",
        "x" + ".a" * 10_000,
        "x" + "()" * 10_000,
        "x + " * 10_000 + "x",
        "x if y else " * 10_000 + "x",
        '"{{' + "(" * 10_000 + '}}"',
    ],
    ids=lambda value: value[:12],
)
def test_deep_nesting_is_one_clean_error(value: str) -> None:
    assert codes(f"const A = {value}\nconst B = 1\n") == ["E0110"]


def test_a_long_chain_of_elif_is_one_clean_error() -> None:
    branches = 'elif x:\n        "a"\n    ' * 10_000
    assert codes(f'{HEAD}if x:\n        "a"\n    {branches}"b"\n') == ["E0110"]


def test_nesting_up_to_the_limit_parses() -> None:
    deep = MAX_DEPTH - 2  # the declaration and the number are levels too
    assert codes(f"const A = {'[' * deep}1{']' * deep}\n") == []
    assert codes(f"const A = {'[' * (deep + 1)}1{']' * (deep + 1)}\n") == ["E0110"]


def test_messages_do_not_name_tokens() -> None:
    """Each line of the example with something wrong in it or after it, one at a time."""
    junk = ["->", ")", "=", "if", "with", "12", '"a" "b"', "@", "?", "pass", "{", "x y", ",", "\\"]
    lines = EXAMPLE.split("\n")
    for number, line in enumerate(lines):
        for changed in [f"{line} {sign}" for sign in junk] + [
            line[:5] + s + line[5:] for s in junk
        ]:
            text = "\n".join([*lines[:number], changed, *lines[number + 1 :]])
            for finding in parse(Source("t.pfn", text))[1]:
                said = f"{finding.message} {finding.label} {finding.help} {finding.notes}"
                assert re.search(r"[A-Z]{3}|_[A-Z]|__", said) is None, said


def test_case_files_cover_every_code() -> None:
    """Every syntax code that the sources can report is shown by a case."""
    folder = Path(__file__).parents[2] / "parrotc" / "syntax"
    sources = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    cases = Path(__file__).parents[1] / "cases" / "syntax"
    shown = "".join(path.read_text("utf-8") for path in cases.glob("*.txt"))
    reported = {part[:5] for part in sources.split('"') if part[:3] in ("E01", "E02", "W02")}
    assert {code for code in reported if f"[{code}]" not in shown} == set()


def test_the_collector_is_off_while_a_program_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look at the whole tree again and again: half of the time of a large parse."""
    seen: list[bool] = []

    def lint(tree: Tree) -> tuple[Diagnostic, ...]:
        seen.append(gc.isenabled())
        return ()

    monkeypatch.setattr("parrotc.syntax.parse.lint", lint)
    parse(Source("a.pfn", "flow f(a: str) -> str:\n    return a\n"))
    assert (seen, gc.isenabled()) == ([False], True)
    with paused():
        parse(Source("a.pfn", "flow f(a: str) -> str:\n    return a\n"))
        assert not gc.isenabled()  # it stays as it was found

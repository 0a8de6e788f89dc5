"""Whatever the input, `parse` answers: no exception, places inside the file, one error each."""

from pathlib import Path

import pytest
from casefile import load
from hypothesis import given, settings
from hypothesis import strategies as st

from parrotc.ir.diagnostic import Level
from parrotc.ir.source import Source
from parrotc.syntax.parse import cut, parse
from parrotc.syntax.tree import Node, Template, TextPart, Tree, children

PROGRAMS = [case["pfn"] for case in load("syntax")]
WORDS = [
    *("pfunc", "flow", "test", "extern def", "enum", "class", "const", "model", "import", "from"),
    *("if", "for", "in", "not in", "elif", "else", "match", "case", "mock", "return", "break if"),
    *("user", "system", "gen", "with", "pass", "each", "->", "{{", "}}", '"', '"""', '""""', 'r"'),
    *("\\", "\\{{", "\n", "\n    ", "\n        ", "\r\n", "\t", "#", "(", ")", "[", "]", "{", "}"),
    *(
        ":",
        ",",
        "=",
        "==",
        ".",
        "|",
        "?",
        "@",
        "x",
        "y",
        "1",
        "2.5",
        "3s",
        "'",
        "é",
        "\0",
        "\ufeff",
    ),
]
texts = (
    st.text()
    | st.lists(st.sampled_from(WORDS)).map(" ".join)
    | st.lists(st.sampled_from(WORDS)).map("".join)
)


holes = st.lists(st.sampled_from(WORDS)).map(
    lambda words: f'pfunc f(x: str) -> str:\n    "{{{{{" ".join(words)}}}}}"\n'
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A program of the cases with a few ranges removed, repeated or replaced."""
    text = draw(st.sampled_from(PROGRAMS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from(["", text[start:end] * 2, *WORDS]) | st.text(max_size=3))
        text = text[:start] + middle + text[end:]
    return text


@given(texts | mutated() | holes)
@settings(max_examples=400, deadline=None)
def test_parse_answers_anything(text: str) -> None:
    source = Source("t.pfn", text)
    tree, found = parse(source)
    for finding in found:
        assert finding.span is not None and finding.span.source is source
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert finding.render()
        assert "_ANON" not in finding.message + finding.label
    errors = [finding for finding in found if finding.level is Level.ERROR]
    assert len(errors) <= len(cut(text)) + 1, "at most one error a declaration"
    assert errors or tree.items, "a program without declarations is an error"
    check_places(tree)


def check_places(tree: Tree) -> None:
    """A child lies within its parent, and children follow one another."""
    for before, item in zip(tree.items, tree.items[1:], strict=False):
        assert before.span.end <= item.span.start
    for item in tree.items:
        check_node(item)


def check_node(node: Node) -> None:
    assert node.span.start < node.span.end or isinstance(node, TextPart)
    assert not node.span.text()[-1:].isspace() or isinstance(node, TextPart)
    for child in children(node):
        assert node.span.start <= child.span.start <= child.span.end <= node.span.end
        check_node(child)


@given(st.data())
def test_one_broken_declaration_leaves_the_others(data: st.DataObject) -> None:
    """Whatever is done to one declaration below its first line, its neighbours still parse."""
    inside = data.draw(st.lists(st.sampled_from([w for w in WORDS if "\n" not in w]), min_size=1))
    text = f"const A = 1\n\nflow f() -> str:\n    {' '.join(inside)}\n\nconst B = 2\n"
    names = [item.name for item in parse(Source("t.pfn", text))[0].items]  # type: ignore[union-attr]
    assert names in (["A", "B"], ["A", "f", "B"])


lines = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}\\\r\u2028\u2029"))
)


@given(lines, st.integers(1, 8), st.integers(3, 6))
def test_a_block_says_what_it_holds(content: list[str], margin: int, fence: int) -> None:
    """A text, indented by any margin and fenced longer than any quotes in it, is read back."""
    content = [line for line in content if '"' * 3 not in line]
    quotes = '"' * fence
    body = "".join(f"{' ' * margin}{line}\n" for line in content)
    source = Source("t.pfn", f"const A = f({quotes}\n{body}{' ' * margin}{quotes})\n")
    tree, found = parse(source)
    assert found == ()
    assert read(tree) == "\n".join(content)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_says_what_it_holds(content: str) -> None:
    """A text with its special characters escaped is read back."""
    escaped = content.replace("\\", "\\\\").replace('"', '\\"').replace("{{", "\\{{")
    escaped = escaped.replace("\n", "\\n")
    tree, found = parse(Source("t.pfn", f'const A = f("{escaped}")\n'))
    assert found == ()
    assert read(tree) == content


def read(tree: Tree) -> str:
    """The one text in the tree of `const A = f(…)`."""
    argument = tree.items[0].value.args[0].value  # type: ignore[union-attr]
    if isinstance(argument, Template):
        return "".join(part.text for part in argument.parts if isinstance(part, TextPart))
    return str(argument.value)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("examples/*.pfn")), ids=lambda path: path.name
)
def test_every_example_parses(path: Path) -> None:
    tree, found = parse(Source(path.name, path.read_text("utf-8")))
    assert [finding.render() for finding in found if finding.level is Level.ERROR] == []
    check_places(tree)

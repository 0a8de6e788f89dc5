"""Texts of prompts: what Python says a literal is, dedented as `inspect.cleandoc` does."""

import ast
import inspect
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parrotc.ir.source import Source
from parrotc.python.translate import translate
from parrotc.syntax.parse import parse
from parrotc.syntax.tree import PfuncDecl, Template, TextPart, TextPiece

HEAD = "from parrotc import pfunc\n@pfunc\ndef f(x: str) -> str:\n"


def template(literal: str) -> Template:
    """The template of a prompt whose only text is `literal`, which ends in `{{gen}}`."""
    tree, found = translate(Source("case.py", f"{HEAD}    {literal}\n"))
    assert not [one for one in found if one.code.startswith("E")], found
    (decl,) = tree.items
    assert isinstance(decl, PfuncDecl)
    (piece,) = decl.body
    assert isinstance(piece, TextPiece)
    return piece.template


def said(held: Template) -> str:
    return "".join(
        part.text if isinstance(part, TextPart) else part.span.text() for part in held.parts
    )


LINES = st.lists(
    st.builds(
        lambda indent, text, end: " " * indent + text + end,
        st.integers(0, 9),
        st.sampled_from(["", "a", "be  c", "é🍎", "'", "x: {y}", "}}", "#"]),
        st.sampled_from(["", " ", "  "]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(lines=LINES, quotes=st.sampled_from(["'''", '"""']), first=st.booleans())
def test_a_block_is_what_cleandoc_says(lines: list[str], quotes: str, first: bool) -> None:
    body = ("" if first else "\n") + "\n".join([*lines, "    {{gen}}", "    "])
    written = quotes + body + quotes
    try:
        value = ast.literal_eval(written)
    except SyntaxError:
        return  # a quote at an end of the text
    wanted = re.sub(r"\A( *\n)+|(\n *)+\Z", "", inspect.cleandoc(value))
    assert said(template(written)) == wanted


TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\\'\"\n\t{ \x07é")),
    max_size=20,
).filter(lambda text: "{{" not in text and not text.endswith("{") and "\\{" not in text)


@settings(deadline=None)
@given(text=TEXTS)
def test_a_literal_of_one_line_is_its_value(text: str) -> None:
    """However Python writes a text down, the prompt has the text."""
    assert said(template(f"{text!r} '{{{{gen}}}}'")) == text + "{{gen}}"
    assert said(template(f"{text!a} '{{{{gen}}}}'")) == text + "{{gen}}"


@settings(deadline=None)
@given(text=TEXTS.filter(lambda text: "\r" not in text and "\0" not in text))
def test_places_are_those_of_the_file(text: str) -> None:
    source = f"{HEAD}    {text!r} '{{{{x}}}}{{{{gen}}}}'\n"
    tree, _ = translate(Source("case.py", source))
    (decl,) = tree.items
    assert isinstance(decl, PfuncDecl) and isinstance(decl.body[0], TextPiece)
    shown, generated = decl.body[0].template.parts[-2:]
    assert (shown.span.text(), generated.span.text()) == ("{{x}}", "{{gen}}")


@settings(deadline=None)
@given(text=st.text(st.sampled_from("{}\\'\"\n\t genx|,=é")), prefix=st.sampled_from(["", "r"]))
def test_any_text_gives_a_tree_or_findings(text: str, prefix: str) -> None:
    for quotes in ("'", "'''"):
        source = f"{HEAD}    {prefix}{quotes}{text}{quotes}\n"
        parsed, found = translate(Source("case.py", source))
        assert parsed.items or found
        assert all(one.render() for one in found)


DEEP = {
    "elif": "if x == '0':\n        return x\n"
    + "".join(f"    elif x == '{n}':\n        return x\n" for n in range(2000)),
    "operators": f"return {' + '.join(['x'] * 3000)}\n",
    "and": f"return {' and '.join(['x'] * 3000)}\n",
    "not": f"return {'not ' * 150}x\n",
    "annotation": f"y: {'list[' * 150}str{']' * 150} = x\n    return x\n",
}


@pytest.mark.parametrize("kind", DEEP)
def test_what_nests_too_deep_is_said(kind: str) -> None:
    source = f"from parrotc import flow\n@flow\ndef f(x: str) -> str:\n    {DEEP[kind]}"
    parsed, found = translate(Source("case.py", source))
    assert not parsed.items and len(found) == 1
    assert found[0].code in ("E0110", "E0120", "E0126")


@pytest.mark.parametrize(
    ("literal", "wanted"),
    [
        (r"'a\tb\x41\u00e9\N{BULLET}\101\' {{gen}}'", "a\tbA\u00e9\u2022A' {{gen}}"),
        (r"r'\frac{a}{b} \d {{gen}}'", r"\frac{a}{b} \d {{gen}}"),
        (r"'\{{not a hole}} {{gen}}'", "{{not a hole}} {{gen}}"),
        (r"'\\{{not a hole}} {{gen}}'", "{{not a hole}} {{gen}}"),
        (r"r'\{{not a hole}} {{gen}}'", "{{not a hole}} {{gen}}"),
        ("('one ' # a comment\n  'two '\n  '''{{gen}}''')", "one two {{gen}}"),
        ("'''\n    a \\\n    b\n    {{gen}}'''", "a b\n{{gen}}"),
        ("r'''\n    a\\\n    b\n    {{gen}}'''", "ab\n{{gen}}"),
        ("'''\n    a\\nb\n      c\n    {{gen}}\n'''", "a\nb\n  c\n{{gen}}"),
        ("'''first\n      second\n        third {{gen}}'''", "first\nsecond\n  third {{gen}}"),
        ("u'{{gen}}'", "{{gen}}"),
    ],
)
def test_a_literal(literal: str, wanted: str) -> None:
    assert said(template(literal)) == wanted


def test_an_escape_in_a_hole_is_read_once() -> None:
    for literal in ("'{{gen stop=\"\\n\"}}'", "r'{{gen stop=\"\\n\"}}'"):
        (gen,) = template(literal).parts
        assert gen.args[0].value.value == "\n"  # type: ignore[union-attr]


def test_a_block_that_ends_in_a_backslash_is_joined_to_the_next_text() -> None:
    for prefix in ("", "r"):
        held = template(f"{prefix}'''\n    a {{{{gen}}}}\\\n    '''")
        assert held.joined and said(held) == "a {{gen}}"
    assert not template("'''\n    a {{gen}}\\\\\n    '''").joined


def test_a_block_says_the_same_as_in_pfn() -> None:
    body = (
        '    """\n    One \\{{two}}\n\n      three\\\n    four {{x}}\n'
        '    {{gen stop="\\n\\n"}}\n    """\n'
    )
    python, _ = translate(
        Source("case.py", f"{HEAD}{body.replace(chr(92) + '{', chr(92) * 2 + '{')}")
    )
    written, _ = parse(Source("case.pfn", f"pfunc f(x: str) -> str:\n{body}"))
    (mine,), (theirs,) = python.items, written.items
    assert isinstance(mine, PfuncDecl) and isinstance(theirs, PfuncDecl)
    held, other = mine.body[0], theirs.body[0]
    assert isinstance(held, TextPiece) and isinstance(other, TextPiece)
    assert said(held.template) == said(other.template)

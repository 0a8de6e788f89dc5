"""A grammar says what the regular expression or the choices said: no more, no less."""

import re

import pytest
from endpoints import as_regex
from hypothesis import assume, given
from hypothesis import strategies as st

from parrotc.ir.hashregex import sample_regex
from parrotc.runtime.engines.openai.grammars import choices_grammar, regex_grammar

LETTERS = st.sampled_from(list('abAZ09_-.é"\\]^[ \n'))
ATOMS = st.one_of(
    LETTERS.map(re.escape),
    st.sampled_from([".", r"\d", r"\w", r"\s", r"\D", r"\S", "[a-c]", r"[^\]\\x-z]", "[-a]", "[a-]",
                     r"[\d_.]", r"\x41", r"é", r"\.", r"[\n\t]"]),
)  # fmt: skip


def _repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counts = st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "+?", "*?"])
    groups = st.sampled_from(["({})", "(?:{})", "(?s:{})"])
    one = st.tuples(groups, inner, counts).map(lambda g: g[0].format(g[1]) + g[2])
    joined = st.lists(one, min_size=1, max_size=3)
    return joined.map("".join) | joined.map("|".join)


PATTERNS = st.recursive(ATOMS, _repeated, max_leaves=5)


@given(pattern=PATTERNS, numbers=st.lists(st.integers(0, 10**6), min_size=40, max_size=40))
def test_a_regex_and_its_grammar_match_the_same(pattern: str, numbers: list[int]) -> None:
    meant = re.compile(as_regex(regex_grammar(pattern)))
    drawn = iter(numbers * 50)
    text = sample_regex(pattern, lambda n: next(drawn) % n)
    assume(len(text) <= 12)  # Python's own matching may take time that is exponential in it
    for one in (text, text[:-1], text + "a", text.upper(), "", "\n", "x\ny"):
        assert bool(meant.fullmatch(one)) == bool(re.fullmatch(pattern, one)), one


@given(choices=st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_choices(choices: list[str]) -> None:
    meant = re.compile(as_regex(choices_grammar(choices)))
    for one in choices:
        assert meant.fullmatch(one)
        assert bool(meant.fullmatch(one + one)) == (one + one in choices)


@pytest.mark.parametrize(
    ("pattern", "grammar"),
    [
        ("[0-9]{2}|x", 'root ::= [0-9]{2} | "x"'),
        ("^ab?$", 'root ::= "a" "b"?'),
        ("(?s:.{0,5})", r"root ::= ([^\x00]{0,5})"),
        ("", 'root ::= ""'),
    ],
)
def test_what_it_looks_like(pattern: str, grammar: str) -> None:
    assert regex_grammar(pattern) == grammar


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)b", "a^b", "a$b", r"\bx", "(?i:x)", "a++"])
def test_what_has_no_grammar(pattern: str) -> None:
    with pytest.raises(ValueError, match="grammar"):
        regex_grammar(pattern)


def test_what_is_no_pattern() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        regex_grammar("(a")


@pytest.mark.parametrize(
    "grammar",
    [
        choices_grammar(("good", 'b"a\\d', "é\n")),
        *map(
            regex_grammar,
            [r"[A-C]{2}-\d+", r"(a|bc)*x?", r"[^\]\-]{1,3}", r"(?s:.{0,5})", r"\w+@\w+"],
        ),
    ],
)
def test_llguidance_reads_it(grammar: str) -> None:
    """An independent reader of the notation."""
    llguidance = pytest.importorskip("llguidance")
    convert = pytest.importorskip("llguidance.gbnf_to_lark").gbnf_to_lark
    read = llguidance.LLMatcher.grammar_from_lark(convert(grammar))
    assert not llguidance.LLMatcher.validate_grammar(read)

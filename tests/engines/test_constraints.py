"""Whatever a model says under a constraint is valid, and the constraint can say all it should.

The model here is noise that leans more and more towards ending things, so that lists and texts end.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from speech import speak  # noqa: E402
from wantedtypes import ODD, TYPES  # noqa: E402

from parrotc.ir.schema import constraint_of, read  # noqa: E402
from parrotc.ir.types import (  # noqa: E402
    STR,
    Choice,
    Field,
    Int,
    ListOf,
    Optional,
    Record,
    Str,
    Type,
)
from parrotc.runtime.engines.embedded.grammar import Grammars, allowed_tokens  # noqa: E402
from parrotc.runtime.engines.embedded.patterns import literal, respelled  # noqa: E402
from parrotc.runtime.engines.protocol import Constraint, EngineError, Finished  # noqa: E402
from parrotc.runtime.tokenizer import Tokenizer  # noqa: E402

Small = Callable[[str], Tokenizer]


@cache
def grammars_of(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer)


def said(tokenizer: Tokenizer, constraint: Constraint, seed: int, **sampling: Any) -> Finished:
    settings = {"temperature": 1.0, "key": seed} | sampling
    return speak(tokenizer, grammars_of(tokenizer), seed, constraint, **settings)


# --- types ---


@settings(max_examples=150, deadline=None)
@given(type_=TYPES, seed=st.integers(0, 2**32))
@example(Int(-5, 123_456), 1)
@example(Int(128, 300), 2)
@example(Record("", (Field("pattern", Str(r"\W{3}")), Field("n", Int(1, 3)))), 3)
@example(ListOf(Choice(ODD), 4), 4)
def test_what_is_said_has_the_type(small: Small, type_: Type, seed: int) -> None:
    wanted = constraint_of(type_)
    assume(wanted != constraint_of(STR))  # free text
    constraint = Constraint(wanted.choices, wanted.regex, wanted.json_schema)
    finished = said(small("smollm"), constraint, seed)
    assume(finished.reason != "length")
    assert finished.reason == "constraint"
    value = read(type_, finished.text)
    if wanted.json_schema is not None:
        jsonschema.validate(value, json.loads(wanted.json_schema))


def test_a_field_may_be_called_like_a_keyword(small: Small) -> None:
    r"""Then what is below it is a schema like any other: its `\W` is Python's."""
    for name in ("enum", "const", "pattern", "properties"):
        wanted = constraint_of(Record("", (Field(name, Str(r"\W{2}")),))).json_schema
        text = f'{{"{name}": "\u0301!"}}'
        assert accepts(small("smollm"), Constraint(json_schema=wanted), text)


def test_flags_inside_a_schema(small: Small) -> None:
    """As the schema of a type spells a regex that begins with them."""
    for pattern, text in (("(?i)éa", '"ÉA"'), ("(?x) a b", '"ab"'), ("(?:a)|(?:b)", '"b"')):
        wanted = constraint_of(Optional(Str(pattern))).json_schema
        assert accepts(small("smollm"), Constraint(json_schema=wanted), text)


# --- regular expressions ---

# what these say of `[[` and `&&` does not matter to us
pytestmark = pytest.mark.filterwarnings("ignore:Possible:FutureWarning")

ATOMS = st.sampled_from(
    ["a", "B", "é", "日", "/", " ", r"\.", r"\/", r"\n", r"\x41", r"\u00e9", ".", r"\d", r"\D",
     r"\w", r"\W", r"\s", r"\S", "[a-c]", "[^a-y]", r"[\w.]", r"[^\s\d]", r"[\W_]", "[]x]",
     "[a[b]", "[&&-]", "[a--]", r"[\]\\^]", "(?i:k)", "(?s:.)", "(?P<n>x|yz)", "(?:)"]
)  # fmt: skip
PATTERNS = st.builds(
    lambda flags, inner, ends: flags + (f"^{inner}$" if ends else inner),
    st.sampled_from(["", "", "(?i)", "(?s)", "(?a)", "(?x)"]),
    st.recursive(
        ATOMS,
        lambda inner: (
            st.builds("".join, st.lists(inner, min_size=1, max_size=3))
            | st.builds("(?:{}|{})".format, inner, inner)
            | st.builds(
                "(?:{}){}".format, inner, st.sampled_from(["?", "{2}", "{,2}", "{1,}?", "*", "+?"])
            )
        ),
        max_leaves=5,
    ),
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(pattern=PATTERNS, seed=st.integers(0, 2**32))
@example(r"\W", 1)
@example(r"[^\s\d]", 1019)
def test_what_is_said_matches_as_python_matches(small: Small, pattern: str, seed: int) -> None:
    try:
        re.compile(pattern)
    except re.error:  # one group name, twice
        assume(False)
    assume(not (pattern.startswith("(?a)") and "(?i" in pattern))
    finished = said(small("smollm"), Constraint(regex=pattern), seed)
    assume(finished.reason != "length")
    # Rust's tables are newer: what this Python has not heard of is no letter to it
    assume(all(unicodedata.category(one) != "Cn" for one in finished.text))
    assert re.fullmatch(pattern, finished.text), finished.text


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"\w+", ["naïve", "日本", "x_1", "²"]),
        (r"\W+", ["- ?", "\u0301", "🙂"]),
        (r"\d\D", ["1a", "1é"]),
        (r"\s\S", [" x", "\x1cé", "\u2003-"]),
        ("a.c", ["abc", "a🙂c", "a/c"]),
        ("(?s)a.c", ["a\nc"]),
        ("[a[b]{3}", ["a[b"]),
        ("[]&&~~-]+", ["]&~-"]),
        ("(?x) a  b # c", ["ab"]),
        ("(?i)straße|É", ["STRAßE", "é"]),
        ("a*?b|a{0}", ["aab", "", "b"]),
        ("^a|b$", ["a", "b"]),
        ("a{3", ["a{3"]),
        ("/|\n|\"|\\\\|#", ["/", "\n", '"', "\\", "#"]),
        (r"(?a)[\w\s]+", ["a b_"]),
    ],
)  # fmt: skip
def test_a_pattern_still_matches_what_it_should(
    small: Small, pattern: str, texts: list[str]
) -> None:
    for text in texts:
        assert re.fullmatch(pattern, text)
        assert accepts(small("smollm"), Constraint(regex=pattern), text), text


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"\w", ["-", "\u0301", "\u200d", " "]),
        (r"\W", ["a", "é", "_", "日", "²"]),
        (r"\D", ["1", "٣"]),
        (r"\S", [" ", "\x1c", "\u2003"]),
        ("a.c", ["a\nc", "ac"]),
        ("(?a)\\w", ["é"]),
        ("[^é]", ["é"]),
        ("(?i:a)b", ["AB"]),
        ("a{2,3}", ["a", "aaaa"]),
    ],
)
def test_a_pattern_matches_nothing_else(small: Small, pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert not re.fullmatch(pattern, text)
        assert not accepts(small("smollm"), Constraint(regex=pattern), text), text


def accepts(tokenizer: Tokenizer, constraint: Constraint, text: str) -> bool:
    """Whether `text` can be said, token by token, and the turn can end there."""
    matcher = grammars_of(tokenizer).matcher(constraint)
    for token in (*tokenizer.encode(text), tokenizer.eos[0]):
        allowed, errors = allowed_tokens([matcher], tokenizer.vocab_size, [()])
        assert errors == [None]
        if not allowed[0, token]:
            return False
        if token not in tokenizer.eos:
            matcher.push(token)
    return True


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)b", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", r"\bword", "(?>a+)b", "a++b", "(a", "*",
     "(?m)^a$", "(?a)(?i:k)", "(?ai)k", "[b-a]", "\ud800", "(" * 3000 + "a" + ")" * 3000, "a^b"],
)  # fmt: skip
def test_what_no_automaton_can_check_is_refused(small: Small, pattern: str) -> None:
    with pytest.raises(EngineError) as caught:
        grammars_of(small("smollm")).matcher(Constraint(regex=pattern))
    assert caught.value.code == "constraint" and "\n" not in str(caught.value)


def test_a_literal_is_itself() -> None:
    for text in ODD:
        assert re.fullmatch(re.sub(r"\\x{(\w+)}", _python_escape, literal(text)), text)
        assert literal(text).isascii()
    assert respelled(r"[^\n]") == r"[^\x{a}]"


def _python_escape(found: re.Match[str]) -> str:
    return f"\\U{int(found[1], 16):08x}"


# --- choices ---


@settings(deadline=None)
@given(
    choices=st.lists(st.sampled_from(ODD) | st.text(max_size=4), min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
)
def test_a_choice_is_one_of_them_and_each_can_be(
    small: Small, choices: list[str], seed: int
) -> None:
    constraint = Constraint(choices=tuple(choices))
    assert said(small("smollm"), constraint, seed).text in choices
    for choice in choices:
        assert accepts(small("smollm"), constraint, choice)


def test_many_choices_are_no_burden(small: Small) -> None:
    choices = tuple(f"option {n}" for n in range(20_000))
    assert said(small("smollm"), Constraint(choices=choices), 5).text in choices


# --- ends ---


def test_an_end_that_may_not_come_is_left_to_the_grammar(small: Small) -> None:
    """`ignore_eos` and `min_tokens` make a match go on as long as it can, and no longer."""
    tokenizer = small("smollm")
    for wanted in ({"ignore_eos": True}, {"min_tokens": 99}):
        finished = said(tokenizer, Constraint(regex="(?:aaaa|b){5,9}"), 1, **wanted)
        assert finished.reason == "constraint"
        assert len(re.findall("aaaa|b", finished.text)) == 9
    lengths = {len(said(tokenizer, Constraint(regex="b{5,9}"), n).text) for n in range(30)}
    assert min(lengths) < 9


def test_where_only_the_end_is_left_it_comes(small: Small) -> None:
    """Though it is banned: nothing else is a match."""
    tokenizer = small("smollm")
    finished = said(tokenizer, Constraint(choices=("",)), 1, ignore_eos=True, min_tokens=5)
    assert (finished.reason, finished.ids) == ("constraint", ())


def test_stops_are_not_for_constraints(small: Small) -> None:
    tokenizer = small("smollm")
    assert said(tokenizer, Constraint(regex="abc"), 1, stop=("b",)).text == "abc"
    words = tuple(set(range(tokenizer.vocab_size)) - set(tokenizer.eos))
    assert said(tokenizer, Constraint(regex="abc"), 1, stop_ids=words).text == "abc"


# --- compiling ---


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(),
        Constraint(choices=()),
        Constraint(choices=("\ud800",)),
        Constraint(json_schema="{"),
        Constraint(json_schema='{"type": "no such type"}'),
        Constraint(json_schema='{"type": "string", "pattern": "(?=a)"}'),
        Constraint(json_schema="[" * 100_000 + "]" * 100_000),
        Constraint(json_schema='{"items":' * 900 + "{}" + "}" * 900),
        Constraint(choices=tuple(str(n) for n in range(200_000))),
        Constraint(regex="a" * 600_000),
        Constraint(
            json_schema=json.dumps(
                {"type": "object", "properties": {f"f{n}": {} for n in range(4000)}}
            )
        ),
    ],
    ids=lambda constraint: repr(constraint)[:50],
)
def test_what_cannot_be_compiled_is_refused_each_time(small: Small, constraint: Constraint) -> None:
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            grammars_of(small("smollm")).matcher(constraint)
        assert caught.value.code == "constraint"
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_grammar_that_grows_too_big_fails_alone(small: Small) -> None:
    """Where the size shows only while it runs."""
    tokenizer = small("smollm")
    pattern = Constraint(regex=r"(?:\w{1,100}\W{1,100}){1,1000}")
    try:
        finished = said(tokenizer, pattern, 3, ignore_eos=True)
        assert finished.reason in ("constraint", "length")
    except EngineError as error:
        assert error.code == "constraint" and "\n" not in str(error)


def test_a_constraint_is_compiled_once(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(small("smollm"))
    compiled = []
    compile_ = grammars._compile
    monkeypatch.setattr(grammars, "_compile", lambda key: compiled.append(key) or compile_(key))
    one, other = Constraint(regex="[a-c][xy]"), Constraint(choices=("ab", "c"))
    first, second = grammars.matcher(one), grammars.matcher(one)
    grammars.matcher(other)
    grammars.matcher(Constraint(choices=("ab", "c"), scored=True))
    assert compiled == [one, other]
    token = small("smollm").encode("a")[0]
    first.push(token)  # and one does not move the other
    allowed, _ = allowed_tokens([first, second], small("smollm").vocab_size, [(), ()])
    assert not allowed[0, token] and allowed[1, token]
    for n in range(100):
        grammars.matcher(Constraint(regex=f"x{n}"))
    grammars.matcher(one)
    assert compiled.count(one) == 2, "the oldest ones are forgotten"


def test_threads_share_grammars(small: Small) -> None:
    grammars = Grammars(small("smollm"))

    def work(n: int) -> bool:
        matcher = grammars.matcher(Constraint(regex=f"[a-z]{{{n % 5 + 1}}}"))
        return bool(allowed_tokens([matcher], small("smollm").vocab_size, [()])[0].any())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))

"""The JSON of engines: whatever can be asked or answered comes through, and nothing else does."""

import json
import math
from dataclasses import fields, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.runtime.engines.http import wire
from parrotc.runtime.engines.http.wire import Fill, Free, Generate, Reader
from parrotc.runtime.engines.protocol import (
    NO_HINTS,
    Constraint,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    Piece,
    Sampling,
    TokenLogprob,
)
from parrotc.runtime.tokenizer import ByteTokenizer

READER = Reader(ByteTokenizer(), Random(1))

# --- round trips ---

contexts = st.integers(-(2**70), 2**70).filter(lambda n: n != -1)
ids = st.lists(st.integers(0, 257), max_size=8).map(tuple)
texts = st.text(max_size=8)
shares = st.floats(0, 1)

fills = st.builds(
    FillRequest,
    contexts,
    st.none() | contexts,
    ids,
    early=st.booleans(),
    salt=texts,
    next_use=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    pinned=st.booleans(),
    shared=st.booleans(),
)
samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 10**9),
    temperature=st.floats(0, 1e300),
    top_p=shares,
    top_k=st.integers(0, 10**6),
    min_p=shares,
    stop=st.lists(texts, max_size=3).map(tuple),
    key=st.integers(0, 2**64 - 1),
    repetition_penalty=st.floats(0.01, 100),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    stop_ids=ids,
    ignore_eos=st.booleans(),
    min_tokens=st.integers(0, 10**6),
    logprobs=st.integers(-1, 20),
)
constraints = st.one_of(
    st.builds(
        Constraint,
        choices=st.lists(texts, min_size=1, max_size=3).map(tuple),
        scored=st.booleans(),
    ),
    st.builds(Constraint, regex=texts),
    st.builds(Constraint, json_schema=texts),
)
generations = st.builds(
    GenerateRequest,
    contexts,
    contexts,
    samplings,
    st.none() | constraints,
    rank=st.floats(allow_nan=False, allow_infinity=False),
    latency=st.booleans(),
    said=ids,
)
logprobs = st.builds(
    TokenLogprob,
    st.integers(0, 10**6),
    st.floats(max_value=0, allow_nan=False),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(max_value=0, allow_nan=False))).map(tuple),
)
ends = st.builds(
    Finished,
    texts,
    texts,
    ids,
    st.integers(0, 8),
    texts,
    st.lists(st.tuples(texts, shares), max_size=3).map(tuple),
    st.lists(logprobs, max_size=3).map(tuple),
)
infos = st.builds(
    EngineInfo, texts, texts, texts, st.integers(0), counters=st.dictionaries(texts, shares)
)


def sent(value: object) -> object:
    """What arrives at the other side."""
    return wire.parse(wire.write(value))


@given(st.lists(fills, min_size=1, max_size=4))
def test_fills_arrive_as_they_were_sent(requests: list[FillRequest]) -> None:
    assert READER.fill(sent(requests)) == Fill(tuple(requests))
    assert READER.fill(sent({"requests": requests})) == Fill(tuple(requests))
    assert READER.fill(sent(requests[0])) == Fill((requests[0],))


@given(generations)
def test_generations_arrive_as_they_were_sent(request: GenerateRequest) -> None:
    assert READER.generate(sent(request)) == Generate(request)


def test_hints_stay_behind() -> None:
    """They are for whoever chooses an engine, by a clock of its own."""
    asked = GenerateRequest(1, 2, Sampling(), hints=Hints(tenant="a", begun=5.0, depth=1))
    assert READER.generate(sent(asked)) == Generate(replace(asked, hints=NO_HINTS))


@given(
    st.lists(
        st.one_of(fills.map(lambda f: ("fill", f)), generations.map(lambda g: ("generate", g)))
    )
)
def test_batches_arrive_as_they_were_sent(asked: list[tuple[str, object]]) -> None:
    primitives = [*({kind: request} for kind, request in asked), {"free": [1, 2]}]
    found = READER.batch(sent({"primitives": primitives}))
    assert found[-1] == Free((1, 2))
    for (kind, request), one in zip(asked, found[:-1], strict=True):
        assert one == (Fill((request,)) if kind == "fill" else Generate(request))


@pytest.mark.parametrize(
    ("adapter", "values"),
    [
        (wire.FINISHED, ends),
        (wire.INFO, infos),
        (wire.PIECE, st.builds(Piece, texts, ids, st.booleans())),
    ],
    ids=["finished", "info", "piece"],
)
@given(data=st.data())
def test_answers_arrive_as_they_were_sent(adapter, values, data) -> None:
    value = data.draw(values)
    assert adapter.validate_json(wire.write(value)) == value


def test_every_field_is_drawn() -> None:
    """So that a field that is added later is tried here too."""
    drawn = {"max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "key"}
    drawn |= {"repetition_penalty", "presence_penalty", "frequency_penalty", "stop_ids"}
    drawn |= {"ignore_eos", "min_tokens", "logprobs"}
    assert {field.name for field in fields(Sampling)} == drawn
    known = {"context", "parent", "ids", "early", "salt", "next_use", "pinned", "shared"}
    assert {field.name for field in fields(FillRequest)} == known


@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=5)), max_size=6), st.data())
def test_lines_are_the_same_however_they_are_cut(parts, data) -> None:
    """`None` is a beat: a blank line."""
    whole = b"".join(b"\n" if p is None else p.replace(b"\n", b"") + b"\n" for p in parts)
    expected = [p for p in (line.strip() for line in whole.split(b"\n")) if p]
    buffer, found = bytearray(), []
    while whole:
        cut = data.draw(st.integers(1, len(whole)))
        buffer += whole[:cut]
        whole = whole[cut:]
        found += wire.lines(buffer)
    assert found == expected
    assert not buffer


# --- Parrot's names ---


def test_a_fill_in_parrots_words() -> None:
    asked = {
        "pid": 0, "tid": 3, "context_id": 5, "parent_context_id": -1, "end_flag": False,
        "token_ids": None, "text": "hé",
    }  # fmt: skip
    assert READER.fill(asked) == Fill((FillRequest(5, None, tuple("hé".encode())),), grows=True)
    older = {"session_id": 1, "context_id": 5, "parent_id": 4, "tokens_id": [1]}
    assert READER.fill(older) == Fill((FillRequest(5, 4, (1,)),), grows=True)


def test_a_generation_in_parrots_words() -> None:
    config = {
        "temperature": 0.8, "top_p": 0.95, "max_gen_length": 12, "ignore_tokenizer_eos": True,
        "stop_token_ids": [7], "stop_str": "END", "presence_penalty": 0.5,
        "frequency_penalty": 0.25, "n": 1, "best_of": 1, "logit_bias": None,
        "repetition_penalty": 0.0, "length_penalty": 0.0,
    }  # fmt: skip
    asked = {"pid": 0, "tid": 0, "context_id": 5, "parent_context_id": 4, "sampling_config": config}
    found = READER.generate(asked)
    key = found.request.sampling.key
    assert found == Generate(
        GenerateRequest(
            5,
            4,
            Sampling(
                max_tokens=12, temperature=0.8, top_p=0.95, ignore_eos=True, stop_ids=(7,),
                stop=("END",), presence_penalty=0.5, frequency_penalty=0.25, key=key,
            ),
        ),
        grows=True,
    )  # fmt: skip
    assert READER.generate(asked).request.sampling.key != key, "no two draws are the same"


def test_draws_without_a_key_begin_at_the_seed() -> None:
    asked = {"context": 2, "parent": 1, "sampling": {"temperature": 1.0}}

    def keys(seed: int) -> list[int]:
        reader = Reader(ByteTokenizer(), Random(seed))
        return [reader.generate(asked).request.sampling.key for _ in range(3)]

    assert keys(1) == keys(1) != keys(2)
    assert READER.generate(asked | {"sampling": {"key": 0}}).request.sampling.key == 0


def test_a_generation_without_a_parent_goes_on_in_place() -> None:
    found = READER.generate({"context_id": 5, "sampling_config": {}})
    assert (found.request.context, found.request.parent, found.grows) == (5, 5, True)


@pytest.mark.parametrize(
    ("asked", "contexts"),
    [([1, 2], (1, 2)), ({"contexts": [3]}, (3,)), ({"context_id": 4}, (4,)), ([], ())],
)
def test_frees(asked: object, contexts: tuple[int, ...]) -> None:
    assert READER.free(asked) == Free(contexts)


def test_what_is_freed_may_be_dead() -> None:
    assert READER.free({"contexts": [3], "dead": True}) == Free((3,), dead=True)
    assert READER.free({"context_id": 3, "dead": False}) == Free((3,))
    (found,) = READER.batch([{"free": {"contexts": [3], "dead": True}}])
    assert found == Free((3,), dead=True)
    with pytest.raises(EngineError, match="bool"):
        READER.free({"contexts": [3], "dead": "yes"})


# --- what is refused ---

FILL = {"context": 1, "parent": None, "ids": [1]}
GENERATE = {"context": 2, "parent": 1, "sampling": {}}

BAD_FILLS = [
    (None, "is a JSON object"),
    ([], "at least one"),
    ([FILL, 3], "is a JSON object"),
    ({"requests": FILL, "x": 1}, "no `x`"),
    (FILL | {"idss": [1]}, "did you mean `ids`"),
    (FILL | {"ids": "12"}, "`ids`"),
    (FILL | {"ids": [1.5]}, "`ids.0`"),
    (FILL | {"ids": [True]}, "`ids.0`"),
    (FILL | {"ids": [-1]}, "no tokens"),
    (FILL | {"ids": [258]}, "no tokens"),
    (FILL | {"ids": [2**80]}, "no tokens"),
    (FILL | {"ids": None}, "either `ids` or `text`"),
    (FILL | {"text": "a"}, "either `ids` or `text`"),
    ({"context": 1, "text": 5}, "must be a string"),
    ({"context": "1", "ids": [1]}, "`context`"),
    ({"context": None, "ids": [1]}, "`context`"),
    ({"ids": [1]}, "`context`"),
    (FILL | {"parent": "x"}, "`parent`"),
    (FILL | {"context_id": 3}, "twice"),
    ([FILL, {"context_id": 3, "token_ids": [1]}], "two ways"),
]
BAD_GENERATIONS = [
    ([GENERATE], "is a JSON object"),
    ({"context": 2, "sampling": {}}, "`parent`"),
    (GENERATE | {"sampling": 5}, "is a JSON object"),
    (GENERATE | {"sampling": {"max_tokens": 0}}, "`max_tokens` must be at least 1"),
    (GENERATE | {"sampling": {"max_tokens": "9"}}, "max_tokens"),
    (GENERATE | {"sampling": {"temperature": -0.1}}, "`sampling`: `temperature` is -0.1"),
    (GENERATE | {"sampling": {"temperature": 1e999}}, "`temperature` is inf"),
    (GENERATE | {"sampling": {"top_p": 1.1}}, "from 0 to 1"),
    (GENERATE | {"sampling": {"key": 2**64}}, "`key`"),
    (GENERATE | {"sampling": {"key": -1}}, "`key`"),
    (GENERATE | {"sampling": {"stop": [1]}}, "stop"),
    (GENERATE | {"sampling": {"stop_ids": [300]}}, "no tokens"),
    (GENERATE | {"sampling": {"logprobs": 101}}, "`logprobs`"),
    (GENERATE | {"sampling": {"repetition_penalty": -1}}, "more than 0"),
    (GENERATE | {"sampling": {"temprature": 1}}, "did you mean `temperature`"),
    (GENERATE | {"sampling": {"n": 2}}, "`n` is not supported"),
    (GENERATE | {"sampling": {"logit_bias": {"5": 1}}}, "`logit_bias` is not supported"),
    (GENERATE | {"constraint": {}}, "one of"),
    (GENERATE | {"constraint": {"choices": []}}, "one of"),
    (GENERATE | {"constraint": {"regex": "a", "choices": ["a"]}}, "one of"),
    (GENERATE | {"constraint": {"regexp": "a"}}, "did you mean `regex`"),
    (GENERATE | {"constraint": "a"}, "constraint"),
    (GENERATE | {"rank": 1e999}, "finite"),
    (GENERATE | {"latency": 1}, "latency"),
]
BAD_FREES = [
    ("x", ""),
    ({}, ""),
    ([1, 1], "twice"),
    ({"contexts": [1], "x": 1}, "no `x`"),
    ([1.5], ""),
]
BAD_BATCHES = [
    (None, "list of primitives"),
    ([], "list of primitives"),
    ({"primitives": [], "x": 1}, "no `x`"),
    ([{}], "one key"),
    ([{"fill": FILL, "free": [1]}], "one key"),
    ([{"ping": {}}], "one key"),
    ([{"fill": FILL}, {"generate": {}}], "`context`"),
]
CASES = [
    (read, asked, words)
    for read, cases in (
        (READER.fill, BAD_FILLS),
        (READER.generate, BAD_GENERATIONS),
        (READER.free, BAD_FREES),
        (READER.batch, BAD_BATCHES),
    )
    for asked, words in cases
]


@pytest.mark.parametrize(("read", "asked", "words"), CASES, ids=map(str, range(len(CASES))))
def test_what_is_wrong_is_said(read, asked: object, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        read(asked)
    assert caught.value.code == "invalid"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'"\\ud800"', b"[NaN]", b"[" * 10_000, b"{} {}", b"9" * 5000]
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        wire.parse(body)
    assert caught.value.code == "invalid"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*FILL, *GENERATE, "requests", "primitives", "fill", "text", "context_id"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(json_values)
def test_nothing_else_is_ever_raised(asked: object) -> None:
    for read in (READER.fill, READER.generate, READER.free, READER.batch):
        try:
            read(asked)
        except EngineError as error:
            assert error.code == "invalid"


def test_half_a_character_cannot_be_sent() -> None:
    with pytest.raises(EngineError) as caught:
        wire.write(GenerateRequest(2, 1, Sampling(stop=("\ud800",))))
    assert caught.value.code == "invalid"


def test_errors_come_back() -> None:
    error = wire.error_of(json.loads(wire.write(wire.error_json(EngineError("capacity", "full")))))
    assert (error.code, str(error)) == ("capacity", "full")
    for strange in (None, [], {"message": 5}, "x", {"code": "x"}, math.nan):
        assert wire.error_of(strange).code == "internal"

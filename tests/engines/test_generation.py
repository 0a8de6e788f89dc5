"""How one generation goes on and ends: stop texts and ids, ends of turns, limits, what it reports.

Also for the reference engine, which speaks without logits but stops by the same rules.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from speech import speak  # noqa: E402

from parrotc.ir.hashvalue import value_ids  # noqa: E402
from parrotc.runtime.engines.embedded.generation import Generation  # noqa: E402
from parrotc.runtime.engines.embedded.grammar import Grammars  # noqa: E402
from parrotc.runtime.engines.embedded.sampler import Draw, draw_batch  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
    TokenLogprob,
)
from parrotc.runtime.engines.reference import ReferenceEngine, spoken  # noqa: E402
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer  # noqa: E402

Small = Callable[[str], Tokenizer]


def begun(tokenizer: Tokenizer, prompt: Sequence[int] = (), **sampling: Any) -> Generation:
    request = GenerateRequest(2, 1, Sampling(**sampling))
    return Generation(
        request,
        tokenizer,
        Grammars(tokenizer),
        prompt=lambda: prompt,
        room=50,
        post=lambda item: None,
    )


def favouring(tokenizer: Tokenizer, *tokens: int) -> torch.Tensor:
    """Logits that are best for the first of `tokens`, then for the next, …"""
    logits = torch.zeros(1, tokenizer.vocab_size)
    for place, token in enumerate(tokens):
        logits[0, token] = 9.0 - place
    return logits


def run(generation: Generation, logits: torch.Tensor) -> Finished:
    reason = None
    while reason is None:
        reason = generation.take(draw_batch(logits.clone(), [generation])[0])
    return generation.finished(reason)[1]


# --- ends ---


def test_an_end_of_turn_and_a_stop_id_are_no_tokens(small: Small) -> None:
    """C7: the first token may be the last."""
    tokenizer = small("smollm")
    (end,), (a, b) = tokenizer.eos, (tokenizer.encode(one)[0] for one in "ab")
    for stop_ids, reason in (((), "end"), ((end,), "stop"), ((b, end), "stop")):
        finished = run(begun(tokenizer, stop_ids=stop_ids), favouring(tokenizer, end, a))
        assert (finished.reason, finished.ids, finished.text) == (reason, (), "")
    finished = run(begun(tokenizer, stop_ids=(b,)), favouring(tokenizer, b, a))
    assert (finished.reason, finished.ids) == ("stop", ())


def test_before_min_tokens_nothing_ends(small: Small) -> None:
    tokenizer = small("smollm")
    (end,), (a, b, c) = tokenizer.eos, (tokenizer.encode(one)[0] for one in "abc")
    logits = favouring(tokenizer, end, b, a, c)
    finished = run(begun(tokenizer, min_tokens=3, stop_ids=(b,)), logits)
    assert (finished.reason, finished.ids) == ("end", (a, a, a))
    finished = run(begun(tokenizer, min_tokens=3, stop=("b",)), logits)
    assert (finished.reason, finished.ids, finished.text) == ("stop", (b, b, b), "bb")
    finished = run(begun(tokenizer, min_tokens=3, stop=("bb",)), logits)
    assert (finished.reason, finished.ids, finished.text) == ("stop", (b, b, b), "b")


def test_ignore_eos_goes_on_to_the_limit(small: Small) -> None:
    tokenizer = small("smollm")
    (end,), (a, b) = tokenizer.eos, (tokenizer.encode(one)[0] for one in "ab")
    logits = favouring(tokenizer, end, a, b)
    finished = run(begun(tokenizer, ignore_eos=True, max_tokens=7), logits)
    assert (finished.reason, finished.ids) == ("length", (a,) * 7)
    finished = run(begun(tokenizer, ignore_eos=True, stop_ids=(end,)), logits)
    assert (finished.reason, finished.ids) == ("stop", ()), "asked for by its id, it still stops"
    finished = run(begun(tokenizer, ignore_eos=True, stop_ids=(a,)), logits)
    assert (finished.reason, finished.ids) == ("stop", ())


def test_the_shorter_of_limit_and_room(small: Small) -> None:
    """C7: not one token more than asked for."""
    tokenizer = small("smollm")
    logits = favouring(tokenizer, tokenizer.encode("a")[0])
    assert len(run(begun(tokenizer, max_tokens=3), logits).ids) == 3
    assert len(run(begun(tokenizer, max_tokens=300), logits).ids) == 50


def test_what_went_wrong_is_raised(small: Small) -> None:
    with pytest.raises(EngineError, match="so"):
        begun(small("smollm")).take(EngineError("internal", "so"))


# --- what it says depends on what was said ---


def test_penalties_look_at_prompt_and_output(small: Small) -> None:
    tokenizer = small("smollm")
    a, b, c = (tokenizer.encode(one)[0] for one in "abc")
    logits = favouring(tokenizer, a, b, c)  # 9, 8, 7

    def said(prompt: Sequence[int] = (), **sampling: float) -> str:
        generation = begun(tokenizer, prompt, max_tokens=6, ignore_eos=True, **sampling)
        return run(generation, logits).text

    assert said() == said([a], frequency_penalty=0.1) == "aaaaaa"
    assert said(presence_penalty=1.5) == "abaaaa"
    assert said(frequency_penalty=0.75) == "aababc"
    assert said(repetition_penalty=1.2) == "abaaaa"
    assert said([a], repetition_penalty=1.2) == "baaaaa"
    assert said([a, b], repetition_penalty=2.0) == "c" + "a" * 5


def test_logprobs_go_with_the_ids(small: Small) -> None:
    tokenizer = small("smollm")
    grammars = Grammars(tokenizer)
    for wanted in (None, Constraint(regex="[a-z]{9}")):
        finished = speak(tokenizer, grammars, 5, wanted, temperature=1.0, key=3, logprobs=2)
        assert tuple(one.token for one in finished.logprobs) == finished.ids != ()
        assert all(len(one.best) == 2 and one.logprob < 0 for one in finished.logprobs)
    assert speak(tokenizer, grammars, 5).logprobs == ()


def test_a_draw_is_taken_only_once(small: Small) -> None:
    """The number of tokens is the position of the next draw."""
    generation = begun(small("smollm"))
    assert generation.position == 0
    generation.take(Draw(7))
    assert (generation.position, generation.tokens) == (1, [7])


# --- the reference engine ---

ENDINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 40),
    stop=st.lists(st.sampled_from(["\n", " model", "42", "é"]), max_size=2).map(tuple),
    stop_ids=st.lists(st.sampled_from([*b" .,\n-a"]), max_size=2).map(tuple),
    ignore_eos=st.booleans(),
    min_tokens=st.sampled_from([0, 0, 5, 30, 60]),
)


@settings(deadline=None)
@given(sampling=ENDINGS, state=st.integers(0, 2**64 - 1))
def test_the_reference_model_ends_as_it_should(sampling: Sampling, state: int) -> None:
    finished = spoken(state, ByteTokenizer(), sampling)
    count, least = len(finished.ids), sampling.min_tokens
    whole = bytes(finished.ids).decode("utf-8", "ignore")
    match finished.reason:
        case "length":
            assert count == sampling.max_tokens
        case "end":
            assert not sampling.ignore_eos and count >= least
        case "stop":
            assert count >= least
            assert sampling.stop_ids or any(stop in whole for stop in sampling.stop)
    assert finished.text == whole[: len(finished.text)]
    assert all(token not in sampling.stop_ids for token in finished.ids)
    if least == 0 and sampling.stop:
        assert not any(stop in finished.text for stop in sampling.stop)


@settings(deadline=None)
@given(
    max_tokens=st.integers(1, 40),
    stop=st.sampled_from([(), ("\n",), (" model", "é")]),
    state=st.integers(0, 2**64 - 1),
)
def test_without_new_wishes_it_says_what_it_always_said(
    max_tokens: int, stop: tuple[str, ...], state: int
) -> None:
    drawn = value_ids(state, ByteTokenizer(), max_tokens=max_tokens, stop=stop)
    finished = spoken(state, ByteTokenizer(), Sampling(max_tokens=max_tokens, stop=stop))
    assert finished.ids == drawn.ids and finished.reason == drawn.reason
    if finished.text == drawn.text:  # one shows half a character as such, the other drops it
        assert (finished.kept, finished.rest) == (drawn.kept, drawn.rest)


async def test_the_reference_engine_takes_them_up() -> None:
    engine = ReferenceEngine()
    await engine.fill([FillRequest(1, None, (5, 6))])

    async def said(context: int, constraint: Constraint | None = None, **sampling: Any) -> Finished:
        request = GenerateRequest(context, 1, Sampling(**sampling), constraint)
        items = [item async for item in engine.generate(request)]
        assert isinstance(items[-1], Finished)
        assert "".join(piece.text for piece in items[:-1]) == items[-1].text
        return items[-1]

    free = await said(2, max_tokens=200)
    assert free.reason == "end" and free.logprobs == ()
    longer = await said(3, max_tokens=200, ignore_eos=True, logprobs=1)
    assert longer.reason == "length" and longer.ids[: len(free.ids)] == free.ids
    token = free.ids[3]
    cut = await said(4, stop_ids=(token,))
    assert (cut.reason, cut.ids) == ("stop", free.ids[: free.ids.index(token)])
    assert longer.logprobs[0] == TokenLogprob(longer.ids[0], 0.0, ((longer.ids[0], 0.0),))
    chosen = await said(5, Constraint(choices=("yes",)), stop_ids=tuple(b"y"), logprobs=0)
    assert chosen.text == "yes"
    assert chosen.logprobs == tuple(TokenLogprob(token, 0.0) for token in b"yes")

"""The embedded engine over a tiny random model: what it says is what the plainest model says."""

import asyncio
import json
import math
from random import Random

import pytest

torch = pytest.importorskip("torch")

from driven import PROMPT, Driver  # noqa: E402
from tinyllama import CONTEXT, dense, greedy  # noqa: E402

from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine  # noqa: E402

# --- tokens ---


async def test_greedy_tokens_are_those_of_the_plain_model(tiny: Driver, weights) -> None:
    context = await tiny.fill(PROMPT)
    _, finished = await tiny.run(context, max_tokens=12)
    assert finished.ids == greedy(weights, PROMPT, len(finished.ids))
    assert finished.reason == "length"


async def test_sharing_changes_no_token(tiny: Driver, weights) -> None:
    """Twelve branches of one tree at once, against each prompt filled alone."""
    rng = Random(3)
    trunk = await tiny.fill(PROMPT)
    branches = [[rng.randrange(300) for _ in range(rng.randrange(1, 30))] for _ in range(12)]

    async def shared(ids):
        middle = await tiny.fill(ids[: len(ids) // 2], trunk)
        leaf = await tiny.fill(ids[len(ids) // 2 :], middle)
        return (await tiny.run(leaf, max_tokens=10 + len(ids) % 7))[1]

    async def alone(ids):
        return (await tiny.run(await tiny.fill((*PROMPT, *ids)), max_tokens=10 + len(ids) % 7))[1]

    together = await asyncio.gather(*map(shared, branches))
    apart = [await alone(ids) for ids in branches]
    assert together == apart
    assert together[0].ids == greedy(weights, (*PROMPT, *branches[0]), len(together[0].ids))


async def test_a_context_goes_on_after_a_generation(tiny: Driver, weights) -> None:
    """Whether its last token has been through the model or not, and after it was cut."""
    ids = PROMPT
    context = await tiny.fill(PROMPT)
    for count in (1, 5, 3):
        context, finished = await tiny.run(context, max_tokens=count)
        assert finished.ids == greedy(weights, ids, count)
        ids += finished.ids[: finished.kept]
        extra = (7, 8) if count == 5 else ()
        if finished.rest or extra:
            more = (*tiny.engine.tokenizer.encode(finished.rest), *extra)
            context, ids = await tiny.fill(more, context), ids + more


async def test_draws_depend_on_their_key_alone(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    settings = [
        {"temperature": 1.0, "key": 1},
        {"temperature": 1.5, "key": 2, "top_p": 0.9},
        {"temperature": 1.0, "key": 3, "top_k": 20},
        {"temperature": 2.0, "key": 4, "min_p": 0.05, "top_k": 30, "top_p": 0.8},
        {"temperature": 1.0, "key": 5},
    ]
    apart = [(await tiny.run(context, max_tokens=9, **one))[1] for one in settings]
    together = await asyncio.gather(
        *(tiny.run(context, max_tokens=9, **one) for one in reversed(settings))
    )
    assert [finished for _, finished in reversed(together)] == apart
    assert apart[0].ids != apart[4].ids


# --- stopping ---


async def test_stop_texts(tiny: Driver, weights) -> None:
    """For every piece of what the model says, of any length: cut there, shown up to there."""
    tokenizer = tiny.engine.tokenizer
    context = await tiny.fill(PROMPT)
    _, whole = await tiny.run(context, max_tokens=20)
    for start in range(0, len(whole.text), 5):
        for length in (1, 2, 5, 9):
            stop = whole.text[start : start + length]
            if "\ufffd" in stop or not stop:
                continue
            child, finished = await tiny.run(context, max_tokens=20, stop=("☃", stop))
            assert finished.reason == "stop"
            assert finished.text == whole.text[: whole.text.index(stop)]
            kept = tokenizer.decode(finished.ids[: finished.kept])
            assert kept + finished.rest == finished.text
            longer = tokenizer.decode(finished.ids[: finished.kept + 1])
            assert len(longer) > len(finished.text) or not finished.text.startswith(longer)
            extra = tokenizer.encode(finished.rest)
            after = await tiny.fill(extra, child) if extra else child
            _, more = await tiny.run(after, max_tokens=2)
            ids = (*PROMPT, *finished.ids[: finished.kept], *extra)
            assert more.ids == greedy(weights, ids, len(more.ids))


async def test_the_end_of_a_turn_is_not_text(tiny: Driver) -> None:
    """Forced by a constraint that is complete: nothing else may follow."""
    context = await tiny.fill(PROMPT)
    child, finished = await tiny.run(context, Constraint(regex="(ab)+c?"), max_tokens=30)
    assert 2 not in finished.ids
    assert (await tiny.engine.ping()).cached_tokens == len(PROMPT) + finished.kept
    await tiny.engine.free([context, child])


async def test_the_models_context_ends(tiny: Driver) -> None:
    context = await tiny.fill([7] * (CONTEXT - 3))
    child, finished = await tiny.run(context, max_tokens=50)
    assert (finished.kept, finished.reason) == (3, "length")
    with pytest.raises(EngineError) as caught:
        await tiny.run(child, max_tokens=1)
    assert caught.value.code == "context_length"
    with pytest.raises(EngineError) as caught:
        await tiny.fill([5] * 4, context)
    assert caught.value.code == "context_length"


# --- constraints ---


async def test_choices(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    for choices in (("yes", "no"), ('a"b\\', "\n", "日本"), ("x", "xy", "xyz"), ("only",)):
        _, finished = await tiny.run(context, Constraint(choices=choices))
        assert finished.text in choices
        assert finished.reason == "constraint"


async def test_a_regex(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    for key in range(4):
        wanted = Constraint(regex=r"[A-Z][a-z]{2,4}, \d{2}\.")
        _, finished = await tiny.run(context, wanted, temperature=1.0, key=key)
        assert finished.reason == "constraint"
        name, number = finished.text.split(", ")
        assert name.isalpha() and name[1:].islower() and 3 <= len(name) <= 5
        assert number[:2].isdigit() and number[2:] == "."


async def test_a_schema(tiny: Driver) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "score": {"type": "integer", "minimum": 1, "maximum": 10},
            "kind": {"enum": ["a", "b"]},
        },
        "required": ["name", "score", "kind"],
        "additionalProperties": False,
    }
    context = await tiny.fill(PROMPT)
    _, finished = await tiny.run(context, Constraint(json_schema=json.dumps(schema)))
    value = json.loads(finished.text)
    assert list(value) == ["name", "score", "kind"]
    assert 1 <= value["score"] <= 10 and value["kind"] in "ab" and len(value["name"]) <= 6


async def test_a_limit_cuts_a_constraint(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    _, finished = await tiny.run(context, Constraint(regex="[a-z]{200}"), max_tokens=3)
    assert (finished.reason, len(finished.ids)) == ("length", 3)


@pytest.mark.parametrize("key", [0, 1, 2])
async def test_scores_are_probabilities_of_the_model(tiny: Driver, weights, key: int) -> None:
    encode = tiny.engine.tokenizer.encode
    choices = ("yes", "no", "yes,", "maybe so")
    logs = []
    for text in choices:
        ids = encode(text)
        rows = dense(weights, (*PROMPT, *ids)).log_softmax(-1)[len(PROMPT) - 1 : -1]
        logs.append(float(rows[range(len(ids)), ids].sum()))
    mass = [math.exp(one) for one in logs]
    assert encode("yes,")[: len(encode("yes"))] == encode("yes")
    mass[0] -= mass[2]  # "yes" ends there
    expected = [one / sum(mass) for one in mass]

    context = await tiny.fill(PROMPT)
    wanted = Constraint(choices=choices, scored=True)
    child, finished = await tiny.run(context, wanted, temperature=1.0 * (key > 0), key=key)
    assert [text for text, _ in finished.scores] == list(choices)
    assert [p for _, p in finished.scores] == pytest.approx(expected, rel=1e-9)
    if key == 0:
        assert finished.text == choices[expected.index(max(expected))]
    _, more = await tiny.run(child, max_tokens=3)
    assert more.ids == greedy(weights, (*PROMPT, *finished.ids), len(more.ids))


# --- contexts ---


async def test_every_token_is_counted_once(tiny: Driver) -> None:
    root = await tiny.fill(PROMPT)
    left, right = await tiny.fill([1, 2, 3], root), await tiny.fill([4, 5], root)
    child, finished = await tiny.run(left, max_tokens=4)
    info = await tiny.engine.ping()
    assert info.cached_tokens == len(PROMPT) + 5 + finished.kept
    assert info.filled_tokens == len(PROMPT) + 5
    assert info.generated_tokens == 4
    await tiny.engine.free([root])  # its children still need it
    assert (await tiny.engine.ping()).cached_tokens == info.cached_tokens
    await tiny.engine.free([left, child])
    assert (await tiny.engine.ping()).cached_tokens == len(PROMPT) + 2
    await tiny.engine.free([right])
    assert await tiny.is_empty()


async def test_random_use_leaves_nothing(tiny: Driver, weights) -> None:
    """Fills, forks, generations, cancellations and frees in any order, at the same time."""
    rng = Random(11)

    async def life(depth: int, parent: int | None, before: tuple[int, ...]) -> None:
        ids = tuple(rng.randrange(300) for _ in range(rng.randrange(1, 12)))
        context = await tiny.fill(ids, parent)
        work = [
            life(depth - 1, context, before + ids) for _ in range(rng.randrange(3) if depth else 0)
        ]
        for _ in range(rng.randrange(3)):
            work.append(talk(context, before + ids))
        await asyncio.gather(*work)
        await tiny.engine.free([context])

    async def talk(parent: int, before: tuple[int, ...]) -> None:
        if rng.random() < 0.4:
            request = GenerateRequest(tiny.new(), parent, Sampling(max_tokens=30))
            pieces = tiny.engine.generate(request)
            for _ in range(rng.randrange(4)):
                await anext(pieces, None)
            await pieces.aclose()
            if rng.random() < 0.5:
                await asyncio.sleep(0.01)
            return
        context, finished = await tiny.run(parent, max_tokens=rng.randrange(1, 8))
        assert finished.ids == greedy(weights, before, len(finished.ids))
        await tiny.engine.free([context])

    await asyncio.gather(*(life(3, None, ()) for _ in range(3)))
    for context in range(1, tiny._last + 1):
        with pytest.raises(EngineError):
            await tiny.engine.free([context])
    assert await tiny.is_empty()


async def test_closing_an_iterator_cancels(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    pieces = tiny.engine.generate(GenerateRequest(99, context, Sampling(max_tokens=200)))
    assert isinstance(await anext(pieces), Piece)
    await pieces.aclose()
    await tiny.engine.free([context])
    assert await tiny.is_empty()
    assert (await tiny.engine.ping()).generated_tokens == 0


async def test_cancelling_what_has_ended_drops_its_context(tiny: Driver) -> None:
    context = await tiny.fill(PROMPT)
    pieces = tiny.engine.generate(GenerateRequest(99, context, Sampling(max_tokens=30)))
    assert isinstance(await anext(pieces), Piece)
    while (await tiny.engine.ping()).generated_tokens == 0:
        await asyncio.sleep(0.001)
    await pieces.aclose()
    await tiny.engine.free([context])
    assert await tiny.is_empty()


async def test_characters_come_whole(tiny: Driver) -> None:
    """Random tokens are often parts of characters; no piece ends inside one."""
    context = await tiny.fill(PROMPT)
    for key in range(5):
        _, finished = await tiny.run(context, temperature=5.0, key=key, max_tokens=40)
        assert tiny.engine.tokenizer.decode(finished.ids).startswith(finished.text)
        assert finished.rest == "" or finished.text.endswith(finished.rest)


# --- the real model ---


@pytest.mark.model
async def test_the_embedded_model_speaks() -> None:
    engine = open_engine("embedded", "smollm2-135m-instruct")
    driver = Driver(engine)
    special, encode = engine.tokenizer.specials, engine.tokenizer.encode
    question = encode("user\nWhat is the capital of France?")
    newline, answer = encode("\n"), encode("assistant\n")
    start, end = special["<|im_start|>"], special["<|im_end|>"]
    context = await driver.fill([start, *question, end, *newline, start, *answer])
    _, finished = await driver.run(context, max_tokens=20)
    await engine.close()
    assert (finished.text, finished.reason) == ("The capital of France is Paris.", "end")

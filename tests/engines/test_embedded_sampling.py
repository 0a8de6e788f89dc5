"""What a request wishes of its tokens, through the whole engine: as a plain loop would do it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from driven import PROMPT, Driver  # noqa: E402
from tinyllama import dense, greedy  # noqa: E402

from parrotc.runtime.engines.embedded.engine import open_embedded  # noqa: E402
from parrotc.runtime.engines.protocol import FillRequest, Finished  # noqa: E402

EOS = 2


def penalised(weights: Mapping[str, Any], count: int, **how: float) -> tuple[int, ...]:
    """Greedy tokens after `PROMPT`, with the penalties of `Sampling` by their formulas."""
    said: list[int] = []
    for _ in range(count):
        logits = dense(weights, (*PROMPT, *said))[-1].tolist()
        for token in {*PROMPT, *said}:
            factor = how.get("repetition_penalty", 1.0)
            logits[token] *= 1 / factor if logits[token] > 0 else factor
        for token, times in Counter(said).items():
            logits[token] -= times * how.get("frequency_penalty", 0.0)
            logits[token] -= how.get("presence_penalty", 0.0)
        said.append(max(range(len(logits)), key=logits.__getitem__))
    return tuple(said)


PENALTIES: list[dict[str, float]] = [
    {"repetition_penalty": 3.0},
    {"presence_penalty": 2.0},
    {"frequency_penalty": 1.0},
    {"repetition_penalty": 0.6, "presence_penalty": 4.0, "frequency_penalty": 2.0},
]


async def test_penalties_together_and_each_for_itself(tiny: Driver, weights) -> None:
    context = await tiny.fill(PROMPT)
    asked = [{}, *PENALTIES]
    runs = [tiny.run(context, max_tokens=20, ignore_eos=True, **how) for how in asked]
    found = [finished.ids for _, finished in await asyncio.gather(*runs)]
    assert found == [penalised(weights, 20, **how) for how in asked]
    assert len(set(found)) == len(asked), "each makes a difference here"


async def test_logprobs_are_those_of_the_model(tiny: Driver, weights) -> None:
    """Also where something else than the model decides what is said."""
    context = await tiny.fill(PROMPT)
    wishes: list[dict[str, Any]] = [
        {},
        {"temperature": 1.5, "key": 3, "top_k": 9},
        {"presence_penalty": 25.0},
    ]
    runs = [tiny.run(context, max_tokens=6, logprobs=3, **how) for how in wishes]
    for _, finished in await asyncio.gather(*runs):
        assert [one.token for one in finished.logprobs] == list(finished.ids)
        rows = dense(weights, (*PROMPT, *finished.ids)).log_softmax(-1)[len(PROMPT) - 1 :]
        for one, row in zip(finished.logprobs, rows, strict=False):
            assert one.logprob == pytest.approx(float(row[one.token]), abs=1e-9)
            best = row.topk(3)
            assert [token for token, _ in one.best] == best.indices.tolist()
            assert [p for _, p in one.best] == pytest.approx(best.values.tolist(), abs=1e-9)


async def test_what_ends_a_generation(tiny: Driver, weights) -> None:
    """Stop ids as stop texts do; neither before `min_tokens`, nor ends of turn that are ignored."""
    context = await tiny.fill(PROMPT)
    plain = greedy(weights, PROMPT, 12)
    stop = plain[5]
    at = plain.index(stop)
    _, finished = await tiny.run(context, max_tokens=12, stop_ids=(stop,))
    assert (finished.reason, finished.ids) == ("stop", plain[:at])
    _, finished = await tiny.run(context, max_tokens=12, stop_ids=(stop,), min_tokens=9)
    assert len(finished.ids) >= 9 and stop not in finished.ids[:9]
    hot = {"temperature": 30.0, "max_tokens": 100}  # nearly uniform: an end comes within 100 or so
    ends = await asyncio.gather(*(tiny.run(context, **hot, key=key) for key in range(40)))
    assert any(finished.reason == "end" for _, finished in ends)
    ends = await asyncio.gather(
        *(tiny.run(context, **hot, key=key, ignore_eos=True) for key in range(40))
    )
    assert all(finished.reason == "length" for _, finished in ends)
    assert all(EOS not in finished.ids for _, finished in ends)


async def test_samples_of_one_prompt_are_forks_of_it(tiny: Driver) -> None:
    """The prompt is filled once, and what is drawn for a key does not depend on how many others."""
    context = await tiny.fill(PROMPT)
    runs = [tiny.run(context, max_tokens=8, temperature=1.0, key=key) for key in range(8)]
    many = [finished.ids for _, finished in await asyncio.gather(*runs)]
    assert (await tiny.engine.ping()).filled_tokens == len(PROMPT)
    assert len(set(many)) > 4
    alone = [
        (await tiny.run(context, max_tokens=8, temperature=1.0, key=key))[1].ids for key in range(8)
    ]
    assert alone == many


async def test_equal_prompts_are_shared_within_a_tenant_only(tiny: Driver) -> None:
    for number, salt in enumerate(("a", "b", "a"), start=100):
        await tiny.engine.fill([FillRequest(number, None, PROMPT, salt=salt)])
        hits = (await tiny.engine.ping()).counters["prefix_hit_tokens"]
        assert hits == (32 if number == 102 else 0), "two full blocks of the first one"


async def test_who_gives_way_says_the_same(tiny_folder: Path, weights) -> None:
    """Six generations in room for about two of them: they take turns, and none notices."""
    engine = open_embedded(str(tiny_folder), precision="float64", threads=1, max_total_tokens=128)
    small = Driver(engine)

    async def talk(first: int) -> tuple[tuple[int, ...], Finished]:
        prompt = tuple(range(first, first + 20))
        _, finished = await small.run(await small.fill(prompt), max_tokens=40, ignore_eos=True)
        return prompt, finished

    for prompt, finished in await asyncio.gather(*(talk(first) for first in range(20, 80, 10))):
        assert finished.ids == greedy(weights, prompt, 40)
    assert (await engine.ping()).counters["preemptions"] > 0
    await engine.close()

"""The `transformers` engine: Hugging Face underneath, and the embedded engine's cross-check."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fakes import finish  # noqa: E402
from served import served  # noqa: E402
from tinyllama import CONTEXT, greedy  # noqa: E402

from parrotc.runtime.engines.cachedmodel import State  # noqa: E402
from parrotc.runtime.engines.huggingface import HuggingfaceEngine  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine  # noqa: E402
from parrotc.runtime.models import ModelError  # noqa: E402

PROMPT = tuple(range(20, 60))


def opened(folder: Path, precision: str = "float64") -> HuggingfaceEngine:
    engine = open_engine("transformers", str(folder), precision=precision, threads=1)
    assert isinstance(engine, HuggingfaceEngine)
    return engine


@pytest.fixture
async def engine(tiny_folder: Path) -> AsyncIterator[HuggingfaceEngine]:
    engine = opened(tiny_folder)
    yield engine
    await engine.close()


# --- tokens ---


async def test_tokens_are_those_of_the_plain_model(engine, weights) -> None:
    """Down a chain and across forks, each going on from a cache that others go on from too."""
    await engine.fill([FillRequest(1, None, PROMPT[:7]), FillRequest(2, 1, PROMPT[7:])])
    prompts = {1: PROMPT[:7], 2: PROMPT}
    for context, parent in ((3, 2), (4, 2), (5, 1), (6, 3), (7, 3)):
        ids = (100 + context, 30 + context)
        await engine.fill([FillRequest(context, parent, ids)])
        prompts[context] = prompts[parent] + ids
    asked = [GenerateRequest(10 + n, n, Sampling(max_tokens=5)) for n in prompts]
    ends = await asyncio.gather(*(finish(engine, request) for request in asked))
    for prompt, end in zip(prompts.values(), ends, strict=True):
        assert end.ids == greedy(weights, prompt, len(end.ids))


async def test_going_on_after_every_kind_of_end(engine, weights) -> None:
    """Whether the last token has been computed, and after a cut that left too much in the cache."""
    await engine.fill([FillRequest(1, None, PROMPT)])
    whole = await finish(engine, GenerateRequest(2, 1, Sampling(max_tokens=12)))
    texts = engine.tokenizer.decode(whole.ids)
    stop = texts[4:9]
    cut = await finish(engine, GenerateRequest(3, 1, Sampling(max_tokens=12, stop=(stop,))))
    assert cut.reason == "stop" and cut.kept < len(cut.ids)
    end = next(n for n in range(2, 12) if whole.ids[n] not in whole.ids[:n])
    ended = await finish(
        engine, GenerateRequest(4, 1, Sampling(max_tokens=12, stop_ids=(whole.ids[end],)))
    )
    assert (ended.reason, ended.ids) == ("stop", whole.ids[:end])
    for context, before in ((2, whole), (3, cut), (4, ended)):
        prompt = PROMPT + before.ids[: before.kept]
        after = await finish(engine, GenerateRequest(10 + context, context, Sampling(max_tokens=4)))
        assert after.ids == greedy(weights, prompt, len(after.ids))


async def test_a_prefix_goes_through_the_model_once(engine, monkeypatch) -> None:
    fed: list[int] = []
    forward = engine._model._forward

    def counted(state, ids, keep_all):
        fed.append(len(ids))
        return forward(state, ids, keep_all)

    monkeypatch.setattr(engine._model, "_forward", counted)
    await engine.fill([FillRequest(1, None, PROMPT)])
    for n in range(4):
        await finish(engine, GenerateRequest(2 + n, 1, Sampling(max_tokens=3)))
        await engine.fill([FillRequest(10 + n, 2 + n, ())])
    # of three tokens drawn the last is not needed until somebody goes on from it
    assert fed == [len(PROMPT), *[1, 1, 1] * 4]


SAMPLINGS = [
    Sampling(max_tokens=9),
    Sampling(max_tokens=9, temperature=0.8, key=5, top_p=0.9),
    Sampling(max_tokens=9, temperature=1.3, key=6, top_k=20, min_p=0.01),
    Sampling(max_tokens=9, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
    Sampling(max_tokens=9, min_tokens=5, ignore_eos=True, stop=("a",)),
    Sampling(max_tokens=5, temperature=0.5, key=7, logprobs=3),
]
CONSTRAINTS = [
    None,
    Constraint(choices=("yes", "no", "perhaps")),
    Constraint(choices=("yes", "no", "yes but"), scored=True),
    Constraint(choices=("", "no"), scored=True),
    Constraint(regex="[a-f]{4}"),
    Constraint(json_schema='{"type": "array", "items": {"type": "boolean"}, "maxItems": 2}'),
]


async def test_the_embedded_engine_says_the_same(engine, tiny_folder: Path) -> None:
    embedded = open_engine("embedded", str(tiny_folder), precision="float64", threads=1)
    asked = [
        GenerateRequest(10 + n, 2, sampling, constraint)
        for n, (sampling, constraint) in enumerate(
            (s, c) for s in SAMPLINGS for c in CONSTRAINTS
        )
    ]  # fmt: skip
    ends: list[list[Finished]] = []
    for one in (engine, embedded):
        await one.fill([FillRequest(1, None, PROMPT), FillRequest(2, 1, (61, 62))])
        ends.append(await asyncio.gather(*(finish(one, request) for request in asked)))
    for here, there in zip(*ends, strict=True):
        assert _exact(here) == _exact(there)
        # Hugging Face's norms and rotary positions are float32, whatever the rest is
        assert _numbers(here) == pytest.approx(_numbers(there), rel=1e-4, abs=1e-6)
    await embedded.close()


def _exact(end: Finished) -> Finished:
    said = tuple(replace(one, logprob=0.0, best=()) for one in end.logprobs)
    return replace(end, scores=(), logprobs=said)


def _numbers(end: Finished) -> list[float]:
    scores = [p for _, p in end.scores]
    said = [x for one in end.logprobs for x in (one.logprob, *(log for _, log in one.best))]
    return scores + said


@pytest.mark.parametrize("family", ["GPTNeoX", "Gemma3Text", "OPT", "Qwen3Moe"])
async def test_other_families(family: str, tmp_path: Path, small) -> None:
    """Learned positions, sliding windows, experts: what the cache is like is not our business."""
    tokenizer = small("smollm")
    shape = {
        "vocab_size": tokenizer.vocab_size + 7, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
        "ffn_dim": 48, "word_embed_proj_dim": 32, "head_dim": 8, "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"], "num_experts": 4,
        "moe_intermediate_size": 16, "num_experts_per_tok": 2,
        "max_position_embeddings": 128, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 0,
    }  # fmt: skip
    if family != "Gemma3Text":
        del shape["layer_types"], shape["sliding_window"]
    config = getattr(transformers, f"{family}Config")(**shape)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    engine = opened(tmp_path, "float32")
    assert engine._model.feed(State(), (5, 6), keep_all=True).shape == (2, tokenizer.vocab_size)
    ids = list(PROMPT)
    await engine.fill([FillRequest(1, None, PROMPT[:20]), FillRequest(2, 1, PROMPT[20:])])
    ends = [
        await finish(engine, GenerateRequest(3 + n, 2, Sampling(max_tokens=6))) for n in range(2)
    ]
    with torch.inference_mode():
        for _ in ends[0].ids:
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits[: tokenizer.vocab_size].argmax()))
    assert ends[0].ids == ends[1].ids == tuple(ids[len(PROMPT) :])
    await engine.close()


async def test_longrope_ends_where_it_would_turn_over(tmp_path: Path, small) -> None:
    """Cached keys would have been turned by the short factors, and the rest by the long ones."""
    tokenizer = small("smollm")
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = transformers.Phi3Config(
        vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        max_position_embeddings=128, original_max_position_embeddings=40, pad_token_id=0,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, **factors},
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    engine = opened(tmp_path, "float32")
    assert (await engine.ping()).context_length == 40
    await engine.fill([FillRequest(1, None, tuple(range(40)))])
    with pytest.raises(EngineError, match="40"):
        await engine.fill([FillRequest(2, None, tuple(range(41)))])
    await engine.close()


# --- the protocol ---


async def test_misuse_is_refused_and_makes_nothing(engine) -> None:
    await engine.fill([FillRequest(1, None, (5, 6))])
    for code, request in (
        ("invalid", FillRequest(1, None, (5,))),
        ("unknown_context", FillRequest(3, 9, (5,))),
        ("invalid", FillRequest(3, None, (engine.tokenizer.vocab_size,))),
        ("context_length", FillRequest(3, 2, (5,) * CONTEXT)),
    ):
        with pytest.raises(EngineError) as caught:
            await engine.fill([FillRequest(2, 1, (7,)), request])
        assert caught.value.code == code
    await engine.fill([FillRequest(4, None, (5,) * CONTEXT), FillRequest(5, None, ())])
    for code, asked in (
        ("unknown_context", GenerateRequest(3, 9, Sampling())),
        ("invalid", GenerateRequest(1, 1, Sampling())),
        ("invalid", GenerateRequest(3, 5, Sampling())),
        ("invalid", GenerateRequest(3, 1, Sampling(max_tokens=0))),
        ("context_length", GenerateRequest(3, 4, Sampling())),
        ("constraint", GenerateRequest(3, 1, Sampling(), Constraint(regex="("))),
    ):
        with pytest.raises(EngineError) as caught:
            await finish(engine, asked)
        assert caught.value.code == code
    with pytest.raises(EngineError, match="no context 2"):
        await engine.free([2])
    await engine.free([1, 4, 5])
    info = await engine.ping()
    assert (info.contexts, info.cached_tokens, info.running) == (0, 0, 0)


async def test_the_end_of_the_context_ends_a_generation(engine) -> None:
    await engine.fill([FillRequest(1, None, (30,) * (CONTEXT - 3))])
    end = await finish(engine, GenerateRequest(2, 1, Sampling(max_tokens=50, ignore_eos=True)))
    assert (len(end.ids), end.reason) == (3, "length")


async def test_cancelled_generations_leave_nothing(engine) -> None:
    await engine.fill([FillRequest(1, None, PROMPT)])
    rng = Random(2)
    for n in range(10):
        items = engine.generate(GenerateRequest(2 + n, 1, Sampling(max_tokens=100)))
        for _ in range(rng.randrange(3)):
            await anext(items)
        await items.aclose()
    info = await engine.ping()
    assert (info.contexts, info.running) == (1, 0)


async def test_closing_ends_what_goes_on(tiny_folder: Path) -> None:
    engine = opened(tiny_folder)
    await engine.fill([FillRequest(1, None, PROMPT)])
    asked = [GenerateRequest(2 + n, 1, Sampling(max_tokens=190, ignore_eos=True)) for n in range(9)]
    running = [asyncio.create_task(finish(engine, request)) for request in asked]
    await asyncio.sleep(0.05)
    await engine.close()
    ends = await asyncio.gather(*running, return_exceptions=True)
    assert {end.code for end in ends if isinstance(end, EngineError)} == {"cancelled"}
    with pytest.raises(EngineError, match="closed"):
        await engine.fill([FillRequest(2, None, (1,))])


async def test_a_failing_model_fails_one_request(engine, monkeypatch) -> None:
    await engine.fill([FillRequest(1, None, PROMPT)])
    feed = engine._model.feed

    def fails(state, ids, **how):
        if 99 in ids:
            raise ZeroDivisionError("a bug")
        return feed(state, ids, **how)

    monkeypatch.setattr(engine._model, "feed", fails)
    with pytest.raises(EngineError, match="ZeroDivisionError: a bug") as caught:
        await engine.fill([FillRequest(2, 1, (99,))])
    assert caught.value.code == "internal"
    assert (await finish(engine, GenerateRequest(2, 1, Sampling(max_tokens=3)))).ids


async def test_over_http(engine, weights) -> None:
    async with served(engine) as one:
        remote = await one.remote()
        await remote.fill([FillRequest(1, None, PROMPT)])
        end = await finish(remote, GenerateRequest(2, 1, Sampling(max_tokens=5)))
        assert end.ids == greedy(weights, PROMPT, 5)
        await remote.close()
        assert (await engine.ping()).contexts == 0


# --- what cannot be opened ---


def test_what_is_no_model(tmp_path: Path, tiny_folder: Path, embedded_files) -> None:
    with pytest.raises(ModelError, match="GGUF"):
        open_engine("transformers", str(embedded_files.path))
    with pytest.raises(ValueError, match="no precision `int8`"):
        opened(tiny_folder, "int8")
    config = json.loads((tiny_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text((tiny_folder / "tokenizer.json").read_text())
    with pytest.raises(ModelError, match="cannot be run"):
        opened(tmp_path)


def test_a_model_without_a_cache_is_refused(tmp_path: Path, small) -> None:
    tokenizer = small("smollm")
    config = transformers.MambaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=1, state_size=4
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    with pytest.raises(ModelError, match=r"cache|cannot be run"):
        opened(tmp_path)

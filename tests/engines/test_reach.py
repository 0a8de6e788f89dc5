"""How long a context may be: what limits it, what can be asked for, and that all of it is right."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tinygguf  # noqa: E402
from checkpoints import (  # noqa: E402
    COMMON,
    GATED,
    LENGTH,
    LLAMA3,
    LONGROPE,
    TOLERANCE,
    VOCAB,
    YARN,
    build,
    load,
)
from contexts import Context, run  # noqa: E402

from parrotc.runtime.engines.embedded.engine import open_embedded  # noqa: E402
from parrotc.runtime.engines.embedded.shape import Shape, load_shape  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)
from parrotc.runtime.engines.registry import open_engine  # noqa: E402
from parrotc.runtime.models import ModelError, resolve  # noqa: E402

ORIGINAL = 80  # tokens that the models with `longrope` were made for, before they were stretched
LONG = {"rope_parameters": LONGROPE, "original_max_position_embeddings": ORIGINAL}
SLIDES, SEES = "sliding_attention", "full_attention"


def shape_of(folder: Path, family: str, change: Mapping[str, Any], max_context: int = 0) -> Shape:
    """What is read from a `config.json` with just these words in it."""
    config = COMMON | GATED | {"model_type": family, "ffn_dim": 96} | dict(change)
    (folder / "config.json").write_text(json.dumps(config))
    return load_shape(resolve(str(folder)), max_context)


def words(seed: int, count: int) -> list[int]:
    rng = Random(seed)
    return [rng.randrange(VOCAB) for _ in range(count)]


# --- what limits a context if nothing is asked for ---


@pytest.mark.parametrize(
    ("family", "change", "length"),
    [
        ("mistral", {"sliding_window": 80}, 80),
        ("mistral", {"sliding_window": 300}, LENGTH),
        ("mistral", {"sliding_window": None}, LENGTH),
        ("mistral", {"max_position_embeddings": 8192}, 4096),  # it has one unless it says no
        ("phi3", {"sliding_window": 33}, 33),
        ("phi3", {"sliding_window": None}, LENGTH),
        ("phi3", {}, LENGTH),
        ("llama", {"sliding_window": 80}, 80),
        ("llama", {"layer_types": [SLIDES] * 3, "sliding_window": 80}, 80),
        ("llama", {"layer_types": [SEES] * 3}, LENGTH),
        *(
            (family, {"sliding_window": 80, **change}, length)
            for family in ("qwen2", "qwen3")
            for change, length in (
                ({}, LENGTH),
                ({"use_sliding_window": False}, LENGTH),
                ({"use_sliding_window": True, "max_window_layers": 1}, 80),
                ({"use_sliding_window": True, "max_window_layers": 3}, LENGTH),
                ({"use_sliding_window": True, "max_window_layers": 28}, LENGTH),
                ({"use_sliding_window": True, "layer_types": [SEES, SEES, SLIDES]}, 80),
                ({"use_sliding_window": True, "layer_types": [SEES] * 3}, LENGTH),
                ({"use_sliding_window": True, "max_window_layers": 1, "sliding_window": None},
                 LENGTH),
            )
        ),
        ("phi3", LONG, ORIGINAL),
        ("phi3", LONG | {"sliding_window": 33}, 33),
    ],
)  # fmt: skip
def test_what_limits_a_context(
    tmp_path: Path, family: str, change: dict[str, Any], length: int
) -> None:
    shape = shape_of(tmp_path, family, change)
    assert shape.context_length == length
    named = change.get("max_position_embeddings", LENGTH)
    assert (f"hold {length:,} tokens, not {named:,}" in shape.limit) == (length < named)


@pytest.mark.parametrize(
    ("family", "change", "reason"),
    [
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "kinds chunked_attention"),
        ("qwen2", {"layer_types": [SEES, "linear_attention", SEES]}, "linear_attention"),
        ("llama", {"layer_types": [SLIDES] * 3}, "does not say how far"),
        ("qwen2", {"layer_types": [SLIDES] * 3, "use_sliding_window": False}, "how far"),
        ("mistral", {"layer_types": [SLIDES] * 3, "sliding_window": None}, "how far"),
        ("gemma2", {"sliding_window": 80}, "architecture is gemma2"),
        ("gemma3_text", {"sliding_window": 80, "sliding_window_pattern": 6}, "is gemma3_text"),
        ("cohere2", {"sliding_window": 80, "layer_types": [SLIDES, SEES, SEES]}, "is cohere2"),
        ("gpt_oss", {"sliding_window": 80}, "architecture is gpt_oss"),
        ("llama", {"attention_chunk_size": 64}, "attention_chunk_size"),
        ("qwen2", {"dual_chunk_attention_config": {"chunk_size": 64}}, "dual_chunk"),
        ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("llama", {"alibi": True}, "alibi"),
        ("qwen3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("qwen2", {"is_causal": False}, "see what comes after"),
        ("opt", {"is_causal": False}, "see what comes after"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 0}}, "division"),
        ("phi3", {**LONG, "rope_parameters": LONGROPE | {"long_factor": [1.0]}}, "cannot run"),
    ],
)
def test_attention_that_it_does_not_have_is_refused(
    tmp_path: Path, family: str, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        shape_of(tmp_path, family, change)


# --- what can be asked for ---


@pytest.mark.parametrize(
    ("family", "change", "most"),
    [
        ("llama", {}, LENGTH),
        ("opt", {}, LENGTH),
        ("mistral", {"sliding_window": 80}, 80),
        ("llama", {"rope_parameters": LLAMA3}, LENGTH),
        ("llama", {"rope_parameters": YARN}, LENGTH),
        ("llama", {"rope_parameters": YARN | {"factor": 8.0}}, 512),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}, 640),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 512),
        ("phi3", LONG, LENGTH),
        ("phi3", LONG | {"sliding_window": 100}, 100),
    ],
)
def test_no_more_than_can_be_right(
    tmp_path: Path, family: str, change: dict[str, Any], most: int
) -> None:
    for wanted in (1, 33, most):
        shape = shape_of(tmp_path, family, change, wanted)
        assert (shape.context_length, shape.limit) == (wanted, "")
    with pytest.raises(ModelError, match=f"contexts of {most + 1} tokens") as caught:
        shape_of(tmp_path, family, change, most + 1)
    assert f"ask for {most} or fewer" in caught.value.help


class Stretched:
    """A checkpoint whose contexts are to hold `max_context` tokens, and what it should say."""

    def __init__(self, folder: Path, family: str, change: Mapping[str, Any], max_context: int):
        torch.set_num_threads(1)
        self.folder = folder
        self.other = build(family, GATED | dict(change))
        self.other.save_pretrained(folder)
        self.model = load(folder, max_context=max_context)

    def expected(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return self.other(torch.tensor([list(ids)])).logits[0]


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max())


LONGROPES = {
    "as it is saved": LONG,
    "as once saved": {
        "rope_scaling": LONGROPE | {"type": "yarn", "rope_type": "yarn"},
        "rope_theta": 500.0,
        "original_max_position_embeddings": ORIGINAL,
    },
    "a part of each head": {
        **LONG,
        "rope_parameters": LONGROPE | {"short_factor": [1.0, 1.4], "long_factor": [2.0, 5.0]},
        "partial_rotary_factor": 0.5,
    },
    "its scale said": {**LONG, "rope_parameters": LONGROPE | {"attention_factor": 1.3}},
}


@pytest.mark.parametrize("spelling", LONGROPES)
def test_longrope_beyond_its_original_length(tmp_path: Path, spelling: str) -> None:
    """A common beginning shorter than that, in chunks; then branches that are longer."""
    one = Stretched(tmp_path, "phi3", LONGROPES[spelling], LENGTH)
    trunk, beginning = Context(), words(1, 60)
    run(one.model, [(trunk, beginning[:1])])
    run(one.model, [(trunk, beginning[1:])])
    for seed, count in ((2, ORIGINAL + 1 - 60), (3, LENGTH - 60)):
        branch, rest = trunk.fork(), words(seed, count)
        found = run(one.model, [(branch, rest)])
        assert far(found, one.expected(branch.ids)[60:]) < TOLERANCE


@pytest.mark.parametrize("spelling", LONGROPES)
def test_longrope_is_one_for_an_engine(tmp_path: Path, spelling: str) -> None:
    """Asked for no more than the original length, it has the frequencies of short contexts; asked
    for more, those of long ones in short contexts too."""
    (tmp_path / "short").mkdir()
    (tmp_path / "same").mkdir()
    change = LONGROPES[spelling]
    one = Stretched(tmp_path / "short", "phi3", change, ORIGINAL)
    ids = words(4, ORIGINAL)
    assert far(run(one.model, [(Context(), ids)]), one.expected(ids)) < TOLERANCE
    key = "rope_parameters" if "rope_parameters" in change else "rope_scaling"
    long = change[key]["long_factor"]
    always = {**change, key: change[key] | {"short_factor": long}}
    other = Stretched(tmp_path / "same", "phi3", always, 0)
    stretched = load(one.folder, max_context=ORIGINAL + 1)
    found = run(stretched, [(Context(), ids)])
    assert far(found, other.expected(ids)) < TOLERANCE
    assert far(found, one.expected(ids)) > 100 * TOLERANCE


@pytest.mark.parametrize("wanted", [0, ORIGINAL + 1])
def test_longrope_under_its_first_name(tmp_path: Path, wanted: int) -> None:
    old = {"rope_scaling": LONGROPE | {"type": "su", "rope_type": "su"}, "rope_theta": 500.0}
    given = {"original_max_position_embeddings": ORIGINAL}
    assert shape_of(tmp_path, "phi3", old | given, wanted) == shape_of(
        tmp_path, "phi3", LONG, wanted
    )


def test_longrope_in_gguf(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    one = Stretched(tmp_path / "folder", "phi3", LONG, 0)
    tinygguf.write(one.folder, tmp_path / "m.gguf")
    for ids, wanted in ((words(5, ORIGINAL), 0), (words(5, 200), 200)):
        model = load(tmp_path / "m.gguf", max_context=wanted)
        assert far(run(model, [(Context(), ids)]), one.expected(ids)) < TOLERANCE
        assert model.shape.context_length == len(ids)


@pytest.mark.parametrize(
    "rope",
    [
        YARN | {"factor": 8.0},
        {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0},
        {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0},
    ],
    ids=lambda rope: str(rope["rope_type"]),
)
def test_more_than_the_model_says(tmp_path: Path, rope: dict[str, Any]) -> None:
    """`dynamic` is then what it is in `transformers` for a prompt of just that length."""
    one = Stretched(tmp_path, "llama", {"rope_parameters": rope}, 400)
    context, ids = Context(), words(6, 400)
    parts = [run(one.model, [(context, part)]) for part in (ids[:250], ids[250:])]
    assert far(torch.cat(parts), one.expected(ids)) < 2 * TOLERANCE


# --- the engine ---


async def test_the_engine_holds_what_was_asked_for(tiny_folder: Path) -> None:
    engine = open_engine("embedded", str(tiny_folder), threads=1, max_context=40)
    assert (await engine.ping()).context_length == engine.tokenizer.context_length == 40
    await engine.fill([FillRequest(1, None, (5,) * 30)])
    with pytest.raises(EngineError) as caught:
        await engine.fill([FillRequest(2, 1, (5,) * 11)])
    assert caught.value.code == "context_length"
    (*_, last) = [item async for item in engine.generate(GenerateRequest(3, 1, Sampling()))]
    assert isinstance(last, Finished) and len(last.ids) <= 10
    await engine.close()
    with pytest.raises(ValueError, match="-1 tokens"):
        open_engine("embedded", str(tiny_folder), max_context=-1)


async def test_branches_of_a_short_beginning_grow_long(tmp_path: Path, small: Any) -> None:
    """Paged, shared and decoded: a `longrope` model says what `transformers` says of each whole
    sequence, though what is shared was computed when it was still short."""
    tokenizer = small("smollm")
    change = LONG | {"vocab_size": tokenizer.vocab_size}
    one = Stretched(tmp_path, "phi3", change, LENGTH)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    engine = open_embedded(str(tmp_path), threads=1, max_context=200)
    await engine.fill([FillRequest(1, None, tuple(words(7, 60)))])
    for context in (2, 3):
        rest = tuple(words(context, 20 + context))
        await engine.fill([FillRequest(context, 1, rest)])
        sampling = Sampling(max_tokens=12, ignore_eos=True)
        request = GenerateRequest(10 + context, context, sampling)
        (*_, last) = [item async for item in engine.generate(request)]
        assert isinstance(last, Finished)
        ids = [*words(7, 60), *rest, *last.ids]
        best = one.expected(ids).argmax(1).tolist()
        assert list(last.ids) == best[-13:-1]
    await engine.close()


async def test_a_limit_is_told_when_the_engine_opens(tmp_path: Path, small: Any) -> None:
    tokenizer = small("smollm")
    Stretched(tmp_path, "phi3", LONG | {"vocab_size": tokenizer.vocab_size}, 0)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    told: list[str] = []
    engine = open_embedded(str(tmp_path), threads=1, progress=told.append)
    assert any(f"contexts hold {ORIGINAL} tokens, not {LENGTH}" in line for line in told)
    assert engine.tokenizer.context_length == ORIGINAL
    await engine.close()

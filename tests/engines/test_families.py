"""Each family against `transformers`, on tiny random checkpoints, however the work is cut."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import gguf  # noqa: E402
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
from safetensors.torch import load_file, save_file  # noqa: E402

from parrotc.runtime.engines.embedded.model import Step  # noqa: E402
from parrotc.runtime.engines.embedded.shape import check_pair, load_shape  # noqa: E402
from parrotc.runtime.engines.embedded.weights import load_weights, tensor_shapes  # noqa: E402
from parrotc.runtime.models import ModelError, resolve  # noqa: E402

# name: family, and what its config says beyond the common part
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GATED),
    "llama, tied, all heads": ("llama", GATED | {"tie_word_embeddings": True,
                                                  "num_key_value_heads": 6}),
    "llama, biases": ("llama", GATED | {"attention_bias": True, "mlp_bias": True}),
    "llama, llama3": ("llama", GATED | {"rope_parameters": LLAMA3}),
    "llama, linear": ("llama", GATED | {"rope_parameters": {
        "rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}),
    "llama, dynamic": ("llama", GATED | {"rope_parameters": {
        "rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0}}),
    "llama, yarn": ("llama", GATED | {"rope_parameters": YARN}),
    "llama, yarn, all said": ("llama", GATED | {"rope_parameters": YARN | {
        "beta_fast": 8.0, "beta_slow": 0.5, "truncate": False,
        "mscale": 0.7, "mscale_all_dim": 1.4}}),
    "mistral": ("mistral", GATED | {"head_dim": 12, "sliding_window": None}),
    "mistral, window": ("mistral", GATED | {"sliding_window": 80}),
    "qwen2": ("qwen2", GATED | {"tie_word_embeddings": True}),
    "qwen2, window": ("qwen2", GATED | {
        "use_sliding_window": True, "sliding_window": 80, "max_window_layers": 2}),
    "qwen3": ("qwen3", GATED | {"head_dim": 16}),
    "qwen3, biases": ("qwen3", GATED | {"head_dim": 16, "attention_bias": True}),
    "phi3": ("phi3", GATED),
    "phi3, partial": ("phi3", GATED | {"partial_rotary_factor": 0.5}),
    "phi3, longrope": ("phi3", GATED | {
        "rope_parameters": LONGROPE, "original_max_position_embeddings": 80}),
    "phi3, as once saved": ("phi3", GATED | {
        "rope_scaling": LONGROPE | {"type": "yarn", "rope_type": "yarn"}, "rope_theta": 500.0,
        "original_max_position_embeddings": 80}),
    "opt": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 48}),
    "opt, no biases": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 48, "enable_bias": False}),
}  # fmt: skip


class Pair:
    """A checkpoint, read by `transformers` and by the engine."""

    def __init__(self, folder: Path, variant: str) -> None:
        torch.set_num_threads(1)
        self.folder = folder
        self.other = build(*VARIANTS[variant])
        self.other.save_pretrained(folder)
        self.model = load(folder)

    def expected(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return self.other(torch.tensor([ids])).logits[0]

    def check(self, parts: Sequence[tuple[Context, Sequence[int]]]) -> None:
        """Run a step and compare the logits of every token in it."""
        found = run(self.model, parts)
        wanted = [self.expected(context.ids)[-len(ids) :] for context, ids in parts]
        assert (found - torch.cat(wanted)).abs().max() < TOLERANCE


@pytest.fixture(params=VARIANTS, scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("model"), request.param)


def words(seed: int, count: int) -> list[int]:
    rng = Random(seed)
    return [rng.randrange(VOCAB) for _ in range(count)]


def test_prefill(pair: Pair) -> None:
    pair.check([(Context(), words(1, 80))])


def test_prefill_in_chunks_then_decode(pair: Pair) -> None:
    context, ids = Context(), words(2, 40)
    for first, last in ((0, 1), (1, 18), (18, 36), (36, 37), (37, 38), (38, 40)):
        pair.check([(context, ids[first:last])])


def test_forks_in_ragged_batches(pair: Pair) -> None:
    """Prompts, rows and children of different lengths, all in the same steps."""
    trunk, other = Context(), Context()
    pair.check([(trunk, words(3, 21)), (other, words(4, 1))])
    left, right = trunk.fork(), trunk.fork()
    pair.check([(left, words(5, 7)), (other, words(6, 1)), (right, words(7, 1))])
    deep = left.fork()
    pair.check([(deep, words(8, 3)), (left, words(9, 1)), (right, words(10, 1))])


def test_greedy(pair: Pair) -> None:
    prompt = words(11, 12)
    with torch.inference_mode():
        wanted = pair.other.generate(
            torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0
        )[0, len(prompt) :].tolist()
    context, said = Context(), []
    logits = run(pair.model, [(context, prompt)])
    for _ in range(24):
        said.append(int(logits[-1].argmax()))
        logits = run(pair.model, [(context, said[-1:])])
    assert said == wanted


@pytest.mark.parametrize("precision", ["float64", "bfloat16", "float16", "int8"])
def test_other_precisions_stay_close(pair: Pair, precision: str) -> None:
    ids = words(13, 30)
    found = run(load(pair.folder, precision), [(Context(), ids)])
    likeness = torch.nn.functional.cosine_similarity(found, pair.expected(ids))
    assert likeness.min() > 0.97
    assert found.dtype == (torch.float64 if precision == "float64" else torch.float32)


def test_shards(tmp_path: Path) -> None:
    other = build(*VARIANTS["qwen2"])
    other.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = words(14, 30)
    with torch.inference_mode():
        wanted = other(torch.tensor([ids])).logits[0]
    assert (run(load(tmp_path), [(Context(), ids)]) - wanted).abs().max() < TOLERANCE


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "likeness"), [("float32", 1 - 1e-6), ("bfloat16", 0.99)])
def test_on_a_gpu(pair: Pair, precision: str, likeness: float) -> None:
    ids = words(16, 30)
    found = run(load(pair.folder, precision, "cuda"), [(Context(), ids)]).cpu()
    assert torch.nn.functional.cosine_similarity(found, pair.expected(ids)).min() > likeness


# --- GGUF ---

IN_GGUF = [
    name
    for name, (family, config) in VARIANTS.items()
    if family != "opt" and "dynamic" not in name and "all said" not in name
]


@pytest.mark.parametrize("variant", IN_GGUF)
def test_gguf_is_the_same_model(variant: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    pair = Pair(tmp_path / "folder", variant)
    tinygguf.write(pair.folder, tmp_path / "model.gguf")
    model = load(tmp_path / "model.gguf")
    context, ids = Context(), words(15, 70)
    found = torch.cat([run(model, [(context, part)]) for part in (ids[:50], ids[50:])])
    assert (found - pair.expected(ids)).abs().max() < TOLERANCE
    assert model.shape.context_length == pair.model.shape.context_length


# --- what is refused ---


@pytest.mark.parametrize(
    ("family", "change", "reason"),
    [
        ("gemma", {}, "architecture is gemma"),
        ("smollm3", {}, "architecture is smollm3"),
        ("qwen2", {"hidden_act": "gelu"}, "activation is gelu"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantised"),
        ("llama", {"rope_scaling": {"rope_type": "odd"}}, "called odd"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "does not say its 'factor'"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1}}}, "several kinds"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "layers slide"),
        ("llama", {"partial_rotary_factor": 0.5}, "only a part of each head"),
        ("llama", {"head_dim": 7}, "no pairs"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ("phi3", {"rope_parameters": LONGROPE | {"short_factor": [1.0]}}, "cannot run"),
        ("opt", {"word_embed_proj_dim": 24}, "embedding is narrower"),
        ("opt", {"do_layer_norm_before": False}, "norms come after"),
        ("opt", {"layer_norm_elementwise_affine": False}, "norms have no weights"),
        ("opt", {"activation_function": "gelu"}, "activation is gelu"),
    ],
)
def test_refused(tmp_path: Path, family: str, change: dict[str, Any], reason: str) -> None:
    config = COMMON | GATED | {"model_type": family, "ffn_dim": 96} | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=reason):
        load_shape(resolve(str(tmp_path)))


@pytest.mark.parametrize(
    ("family", "keys", "reason"),
    [
        ("gemma", {}, "architecture is gemma"),
        ("llama", {"expert_count": 8}, "mixture of experts"),
        ("qwen2", {"attention.value_length": 4}, "differ in length"),
        ("llama", {"rope.dimension_count": 4}, "only a part of each head"),
        ("qwen2", {"rope.scaling.type": "longrope"}, "called longrope"),
        ("qwen2", {"rope.scaling.type": "yarn"}, "does not say its 'scaling.factor'"),
        ("llama", {"rope.scaling.type": "yarn", "rope.scaling.yarn_log_multiplier": 1},
         "scaling.yarn_log_multiplier"),
    ],
)  # fmt: skip
def test_refused_in_gguf(tmp_path: Path, family: str, keys: Mapping[str, Any], reason: str) -> None:
    given = {
        "embedding_length": 48,
        "attention.head_count": 6,
        "block_count": 3,
        "feed_forward_length": 64,
        "attention.layer_norm_rms_epsilon": 1,
        "context_length": LENGTH,
    }
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", family)
    writer.add_token_list(["a", "b"])
    for name, value in (given | keys).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(f"{family}.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=reason):
        load_shape(resolve(str(tmp_path / "m.gguf")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model.norm.weight": None}, "norm.weight is None, not"),
        ({"model.layers.1.mlp.down_proj.weight": None}, "1.down.weight is None"),
        ({"model.layers.2.self_attn.k_proj.weight": (48, 48)}, "2.qkv.weight is"),
        ({"lm_head.weight": None}, "head.weight is None"),
        ({"model.layers.0.self_attn.q_proj.bias": (48,)}, "0.qkv.bias, for which"),
        ({"model.layers.0.self_attn.sinks": (6,)}, "self_attn.sinks is no tensor"),
        ({"model.layers.3.input_layernorm.weight": (48,)}, "3.attention_norm.weight, for which"),
    ],
)
def test_weights_of_another_shape(
    tmp_path: Path, change: Mapping[str, tuple[int, ...] | None], reason: str
) -> None:
    build(*VARIANTS["llama"]).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for name, size in change.items():
        weights.pop(name, None)
        if size is not None:
            weights[name] = torch.ones(size)
    save_file(weights, tmp_path / "model.safetensors")
    files = resolve(str(tmp_path))
    with pytest.raises(ModelError, match=reason):
        load_weights(files, load_shape(files))


def test_a_tokenizer_of_another_model(pair: Pair) -> None:
    shape = pair.model.shape

    def fits(count: int, **ids: Any) -> None:
        given = {"vocab_size": count, "specials": {}, "eos": (2,), "bos": None} | ids
        check_pair("m", shape, SimpleNamespace(**given))

    fits(VOCAB)
    fits(VOCAB - 50, bos=0, specials={"<s>": 0})  # rows that no token has are common
    with pytest.raises(ModelError, match=r"200 rows.*201 tokens"):
        fits(VOCAB + 1)
    with pytest.raises(ModelError, match=r"<s>.*200"):
        fits(150, specials={"<s>": VOCAB})
    with pytest.raises(ModelError, match=r"ends a turn.*300"):
        fits(VOCAB, eos=(2, 300))
    with pytest.raises(ModelError, match=r"begins a text.*-1"):
        fits(VOCAB, bos=-1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_everything_is_on_the_device(pair: Pair, precision: str) -> None:
    model = load(pair.folder, precision, "meta")  # which refuses to mix with tensors of a CPU
    ids = torch.zeros(3, dtype=torch.int64, device="meta")
    with torch.inference_mode():
        logits = model.logits(model.forward(Step(ids, ids, lambda _, queries, *__: queries)))
    assert logits.device.type == "meta"


def test_bytes_are_for_a_cpu(pair: Pair) -> None:
    with pytest.raises(ModelError, match="int8"):
        load(pair.folder, "int8", "meta")


def test_tensors_of_a_shape(pair: Pair) -> None:
    files = resolve(str(pair.folder))
    weights = load_weights(files, load_shape(files))
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert found == tensor_shapes(pair.model.shape)

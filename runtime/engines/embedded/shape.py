"""What a model's forward pass is made of, from GGUF metadata or a Hugging Face `config.json`.

A family is a choice of parts: Llama, Mistral, Qwen2, Qwen3, Phi-3 and OPT differ in nothing else.
Whatever would need another part is refused, never approximated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from parrotc.runtime.engines.embedded.ggufdata import read_tensor
from parrotc.runtime.engines.embedded.reach import reach, window_of
from parrotc.runtime.engines.embedded.rotary import (
    Rotary,
    divided,
    from_parameters,
    longrope,
    plain,
)
from parrotc.runtime.gguf import Header, read_header
from parrotc.runtime.models import ModelError, ModelFiles, load_config
from parrotc.runtime.tokenizer import Tokenizer

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "opt")
_GGUF_FAMILIES = ("llama", "qwen2", "qwen3", "phi3")
_ODD_SCALING = ("attn_factor", "yarn_attn_factor", "yarn_ext_factor", "yarn_log_multiplier")
# what some models that call themselves one of these families have, and this engine has not
_FOREIGN = (
    "alibi", "attention_chunk_size", "attn_logit_softcapping", "dual_chunk_attention_config",
    "final_logit_softcapping", "use_bidirectional_attention",
)  # fmt: skip
_FOREIGN_GGUF = (
    "attention.max_alibi_bias", "attention.scale", "attn_logit_softcapping", "embedding_scale",
    "final_logit_softcapping", "logit_scale", "residual_scale",
)  # fmt: skip
_OPT_OFFSET = 2  # rows of its table of positions before that of position 0


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    hidden: int
    inner: int  # of the feed-forward network
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int  # rows of the embedding: at least the tokens of the tokenizer
    epsilon: float  # of the norms
    context_length: int
    rotary: Rotary | None  # None: positions are learned, and added to the embedding
    position_offset: int = 0  # the row of position 0 among learned positions
    norm: Literal["rms", "layer"] = "rms"
    activation: Literal["silu", "relu"] = "silu"
    is_gated: bool = True
    has_qk_norm: bool = False  # each head of queries and keys has a norm
    has_qkv_bias: bool = False
    has_out_bias: bool = False
    has_inner_bias: bool = False
    is_tied: bool = False  # the head is the embedding
    window: int = 0  # tokens that the layers with the shortest sight see; 0: all
    limit: str = ""  # why `context_length` is less than the model says, if it is


def load_shape(files: ModelFiles, max_context: int = 0) -> Shape:
    """The shape of a model whose contexts are to hold `max_context` tokens, 0 for as many as it
    reads. Raises `ModelError` for a model that the embedded engine cannot run exactly, and for
    longer contexts than it can."""
    config = load_config(files)
    try:
        if files.is_gguf:
            shape = _from_gguf(files, read_header(files.path), max_context)
        else:
            shape = _from_folder(config, max_context)
    except KeyError as missing:
        raise ModelError(f"the model `{files.name}` does not say its {missing}") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(
            f"the embedded engine cannot run `{files.name}`: {error}",
            help="it runs models of the families Llama, Mistral, Qwen2, Qwen3, SmolLM2, Phi-3 and"
            " OPT that are not quantised, or are in a GGUF file",
        ) from None
    length, limit = reach(files.name, shape.context_length, shape.rotary, shape.window, max_context)
    return replace(shape, context_length=length, limit=limit)


def check_pair(name: str, shape: Shape, tokenizer: Tokenizer) -> None:
    """Raises `ModelError` when some ids of the tokenizer are none of the model's."""
    if tokenizer.vocab_size > shape.vocab:
        raise ModelError(
            f"the tokenizer of `{name}` is not the model's: the embedding has {shape.vocab:,} rows"
            f" for {tokenizer.vocab_size:,} tokens"
        )
    named = {f"{text} has": token for text, token in tokenizer.specials.items()}
    named |= {f"the token that ends a turn ({token}) has": token for token in tokenizer.eos}
    if tokenizer.bos is not None:
        named["the token that begins a text has"] = tokenizer.bos
    for what, token in named.items():
        if not 0 <= token < shape.vocab:
            raise ModelError(
                f"the tokenizer of `{name}` is not the model's: {what} the id {token}, and the"
                f" embedding {shape.vocab:,} rows"
            )


# --- a Hugging Face folder ---


def _from_folder(config: Mapping[str, Any], longest: int) -> Shape:
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise ValueError(f"its architecture is {family}")
    if config.get("quantization_config"):
        raise ValueError("its weights are quantised")
    if foreign := [name for name in _FOREIGN if config.get(name)]:
        raise ValueError(f"it has `{foreign[0]}`")
    if not config.get("is_causal", True):
        raise ValueError("its tokens see what comes after them")
    return _opt(config) if family == "opt" else _rotary_family(family, config, longest)


def _rotary_family(family: str, config: Mapping[str, Any], longest: int) -> Shape:
    if config.get("hidden_act", "silu") != "silu":
        raise ValueError(f"its activation is {config['hidden_act']}")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // heads
    has_bias = family in ("llama", "qwen3") and bool(config.get("attention_bias"))
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        inner=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        vocab=config["vocab_size"],
        epsilon=config["rms_norm_eps"],
        context_length=config["max_position_embeddings"],
        rotary=_rotary(config, head_dim, longest),
        has_qk_norm=family == "qwen3",
        has_qkv_bias=family == "qwen2" or has_bias,
        has_out_bias=has_bias,
        has_inner_bias=family == "llama" and bool(config.get("mlp_bias")),
        is_tied=bool(config.get("tie_word_embeddings", False)),
        window=window_of(family, config),
    )


def _rotary(config: Mapping[str, Any], head_dim: int, longest: int) -> Rotary:
    """From a config's `rope_parameters`, or from where they were before transformers 5."""
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if any(isinstance(part, Mapping) for part in given.values()):
        raise ValueError("its layers have rotary positions of several kinds")
    given.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    original = config.get("original_max_position_embeddings")
    if original:
        given["original_max_position_embeddings"] = original
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    if share != 1 and config["model_type"] != "phi3":
        raise ValueError("only a part of each head turns, which is not so in this family")
    dim, context = int(head_dim * share), config["max_position_embeddings"]
    return from_parameters(given, dim, context, longest)


def _opt(config: Mapping[str, Any]) -> Shape:
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if config.get("word_embed_proj_dim", hidden) != hidden:
        raise ValueError("its embedding is narrower than its layers")
    if not config.get("do_layer_norm_before", True) or config.get("_remove_final_layer_norm"):
        raise ValueError("its norms come after its layers")
    if not config.get("layer_norm_elementwise_affine", True):
        raise ValueError("its norms have no weights")
    if config.get("activation_function", "relu") != "relu":
        raise ValueError(f"its activation is {config['activation_function']}")
    has_bias = bool(config.get("enable_bias", True))
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        inner=config["ffn_dim"],
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        vocab=config["vocab_size"],
        epsilon=1e-5,  # torch's own; no config says it
        context_length=config["max_position_embeddings"],
        rotary=None,
        position_offset=_OPT_OFFSET,
        norm="layer",
        activation="relu",
        is_gated=False,
        has_qkv_bias=has_bias,
        has_out_bias=has_bias,
        has_inner_bias=has_bias,
        is_tied=bool(config.get("tie_word_embeddings", True)),
    )


# --- a GGUF file ---


def _from_gguf(files: ModelFiles, header: Header, longest: int) -> Shape:
    data = header.metadata
    family = data["general.architecture"]
    if family not in _GGUF_FAMILIES:
        raise ValueError(f"its architecture is {family}")
    if data.get(f"{family}.expert_count"):
        raise ValueError("it is a mixture of experts")
    if foreign := [name for name in _FOREIGN_GGUF if data.get(f"{family}.{name}")]:
        raise ValueError(f"it has `{foreign[0]}`")
    heads, hidden = data[f"{family}.attention.head_count"], data[f"{family}.embedding_length"]
    head_dim = data.get(f"{family}.attention.key_length", hidden // heads)
    if data.get(f"{family}.attention.value_length", head_dim) != head_dim:
        raise ValueError("its keys and values differ in length")
    names = {info.name for info in header.tensors}
    return Shape(
        layers=data[f"{family}.block_count"],
        hidden=hidden,
        inner=data[f"{family}.feed_forward_length"],
        heads=heads,
        kv_heads=data.get(f"{family}.attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab=len(data["tokenizer.ggml.tokens"]),
        epsilon=data[f"{family}.attention.layer_norm_rms_epsilon"],
        context_length=data[f"{family}.context_length"],
        rotary=_gguf_rotary(files, header, head_dim, longest),
        has_qk_norm=family == "qwen3",
        has_qkv_bias=bool({"blk.0.attn_q.bias", "blk.0.attn_qkv.bias"} & names),
        has_out_bias="blk.0.attn_output.bias" in names,
        has_inner_bias="blk.0.ffn_down.bias" in names,
        is_tied="output.weight" not in names,
        window=data.get(f"{family}.attention.sliding_window", 0),
    )


def _gguf_rotary(files: ModelFiles, header: Header, head_dim: int, longest: int) -> Rotary:
    """GGUF keeps the factors of `llama3` and `longrope` as tensors."""
    family = header.metadata["general.architecture"]
    rope = {key.removeprefix(f"{family}.rope."): value for key, value in header.metadata.items()}
    theta, dim = rope.get("freq_base", 10000.0), rope.get("dimension_count", head_dim)
    if family == "llama" and dim != head_dim:  # the order of the rest is not said
        raise ValueError("only a part of each head has rotary positions")
    tensors = {info.name: info for info in header.tensors}

    def factors(name: str) -> list[float]:
        values: list[float] = read_tensor(files.path, tensors[name]).tolist()
        return values

    if "rope_factors_short.weight" in tensors:
        scale = rope.get("scaling.attn_factor", 1.0)
        original = rope["scaling.original_context_length"]
        short, long = (factors(f"rope_factors_{kind}.weight") for kind in ("short", "long"))
        return longrope(theta, dim, short, long, scale, original, longest)
    if "rope_freqs.weight" in tensors:
        return Rotary(divided(theta, dim, factors("rope_freqs.weight")))
    kind = rope.get("scaling.type", "none")
    if kind == "none":
        return Rotary(plain(theta, dim))
    if kind not in ("linear", "yarn"):
        raise ValueError(f"its rotary positions are scaled in a way called {kind}")
    odd = rope.keys() & {f"scaling.{name}" for name in _ODD_SCALING}
    if odd:
        raise ValueError(f"its rotary positions have a {min(odd)}")
    given = {
        "rope_type": kind,
        "rope_theta": theta,
        "factor": rope["scaling.factor"],
        "original_max_position_embeddings": rope.get("scaling.original_context_length"),
        "beta_fast": rope.get("scaling.yarn_beta_fast"),
        "beta_slow": rope.get("scaling.yarn_beta_slow"),
    }
    return from_parameters(given, dim, header.metadata[f"{family}.context_length"], longest)

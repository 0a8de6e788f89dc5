"""A model of Hugging Face's with its `past_key_values`: tokens in, the last logits out.

    state = State()
    model.feed(state, (1, 2, 3))     # it grows
    other = state.copy()             # and from here on, each for itself

A cache is copied whole, whatever kind it is: sliding windows and recurrent layers cannot be cut
back to an earlier length, but every cache can be left as it was.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from parrotc.runtime.models import ModelError, ModelFiles

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_CHUNK = 512  # tokens in one forward pass


@dataclass(slots=True)
class State:
    """`length` tokens have gone through the model. `logits` `[vocab]` are those after the last;
    before the first there are none, and no cache."""

    length: int = 0
    cache: Any = None
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def copy(self) -> "State":
        """A state that may grow while this one stays."""
        return State(self.length, copy.deepcopy(self.cache), self.logits)


class CachedModel:
    """`vocab`: how many of the model's logits stand for tokens; some models have more. Up to
    `reach` tokens a context can grow token by token."""

    def __init__(self, module: nn.Module, vocab: int, device: str) -> None:
        self._module = module
        self._vocab = vocab
        self._device = device
        self.reach = _reach(module.config)
        self._can_leave_out = "logits_to_keep" in inspect.signature(module.forward).parameters

    def feed(self, state: State, ids: Sequence[int], *, keep_all: bool = False) -> Tensor:
        """Put `ids` through the model: `state` grows. With `keep_all`, gives the logits after each
        of them, `[ids, vocab]`, else those after the last, `[1, vocab]`; of no ids, none."""
        kept = [torch.empty(0, self._vocab, device=self._device)]
        for at in range(0, len(ids), _CHUNK):
            chunk = ids[at : at + _CHUNK]
            kept = [*(kept if keep_all else ()), self._forward(state, chunk, keep_all)]
            state.length += len(chunk)
            state.logits = kept[-1][-1]
        return torch.cat(kept)

    def _forward(self, state: State, ids: Sequence[int], keep_all: bool) -> Tensor:
        count = len(ids) if keep_all else 1
        some = {"logits_to_keep": count} if self._can_leave_out else {}
        tokens = torch.tensor([list(ids)], device=self._device)
        out = self._module(tokens, past_key_values=state.cache, use_cache=True, **some)
        state.cache = out.past_key_values
        logits: Tensor = out.logits[0, -count:, : self._vocab].clone()  # no view of all of them
        return logits


def _reach(config: Any) -> float:
    """Where `longrope` turns over to its long factors: keys that are cached before have been turned
    by the short ones, and mean nothing to what comes after."""
    rope = getattr(config, "rope_parameters", None) or {}
    is_long = rope.get("rope_type") == "longrope"
    return float(rope["original_max_position_embeddings"]) if is_long else inf


def load_model(files: ModelFiles, precision: str, device: str, vocab: int) -> CachedModel:
    """Raises `ModelError` for files that `transformers` cannot read or run, `ValueError` for a
    precision that does not exist."""
    if precision not in DTYPES:
        raise ValueError(f"there is no precision `{precision}`; there are {', '.join(DTYPES)}")
    if files.is_gguf:
        raise ModelError(
            f"{files.path} is a GGUF file, and the transformers engine reads folders",
            help="run it on the embedded engine",
        )
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError:
        raise ModelError(
            "the transformers engine needs the package transformers",
            help="pip install 'parrotc[transformers]'",
        ) from None
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it writes to stderr
    state = State()
    try:
        module: Any = AutoModelForCausalLM.from_pretrained(
            str(files.path), dtype=DTYPES[precision], local_files_only=True
        )
        model = CachedModel(module.to(device).eval(), vocab, device)
        with torch.inference_mode():
            model.feed(state, (0,))
    except Exception as error:  # whatever a model's code raises
        why = f"{type(error).__name__}: {error}"
        raise ModelError(f"`{files.name}` cannot be run: {why}") from None
    if state.cache is None:
        raise ModelError(f"`{files.name}` keeps no cache of keys and values")
    return model

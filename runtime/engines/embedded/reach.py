"""How many tokens a context of a model may have: as the model says, or as was asked for.

    the model says   16,384                     asked for   8,192
    ├── its rotary positions are right up to …  4,096, or what was asked for (`rotary.py`)
    └── its layers see at most …                4,096: within its window a layer that slides
                                                sees everything, so there it is computed right

Up to the least of these the engine computes what the model means. Beyond it refuses: nothing is
approximated, and a context is never cut in silence.
"""

from collections.abc import Mapping
from typing import Any

from parrotc.runtime.engines.embedded.rotary import Rotary
from parrotc.runtime.models import ModelError


def reach(
    name: str, length: int, rotary: Rotary | None, window: int, wanted: int
) -> tuple[int, str]:
    """The tokens of a context, and what to tell where that is less than the model's `length`.

    `window` is how many tokens the layers with the shortest sight see, 0 for all; `wanted` is what
    was asked for, 0 for nothing. Raises `ModelError` where more is wanted than can be right.
    """
    most, why = length, "it reads no more"
    if rotary is not None and rotary.reach:
        most, why = rotary.reach, "its rotary positions are made for no more"
    if window and window < most:
        most, why = window, f"some layers see a window of {window:,} tokens only"
    if wanted > most:
        raise ModelError(
            f"`{name}` cannot have contexts of {wanted:,} tokens: {why}",
            help=f"ask for {most:,} or fewer (`max_context`)",
        )
    if wanted or most >= length:
        return wanted or length, ""
    return most, f"{why}, so contexts hold {most:,} tokens, not {length:,}"


def window_of(family: str, config: Mapping[str, Any]) -> int:
    """How many tokens the layers with the shortest sight see; 0 when all see everything.

    What a Hugging Face config leaves out is as `transformers` has it. Raises `ValueError` for
    layers of other kinds than those that see all or slide.
    """
    kinds = set(config.get("layer_types") or ())
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise ValueError(f"its layers are of the kinds {', '.join(sorted(kinds))}")
    window = _window(family, config, kinds)
    if "sliding_attention" in kinds and not window:
        raise ValueError("its layers slide, and it does not say how far they see")
    return window


def _window(family: str, config: Mapping[str, Any], kinds: set[str]) -> int:
    if family == "mistral":
        return config.get("sliding_window", 4096) or 0
    if family in ("qwen2", "qwen3"):
        first = config.get("max_window_layers", 28)
        slides = "sliding_attention" in kinds or (not kinds and first < config["num_hidden_layers"])
        is_used = config.get("use_sliding_window") and slides
        return (config.get("sliding_window", 4096) or 0) if is_used else 0
    # a Llama that names one was another model before it was saved: within it both agree
    return config.get("sliding_window") or 0

"""Rotary positions: how fast each pair of coordinates turns, for every known way of scaling.

All of them come down to one frequency for each pair and one factor for the whole turn. In two
kinds, `longrope` and `dynamic`, the frequencies depend on how long a context is, and that for all
of its tokens: when one grew, what was computed of it would become wrong. And contexts share what is
computed of a common beginning. So they are chosen once, for the longest context that an engine is
to hold; every context then has the same, whatever its own length.

              an engine for contexts up to …                     has the frequencies of
    longrope  the original length                                short contexts
              more                                               long contexts
    dynamic   the model's length                                 nothing scaled
              more                                               a context of just that length

Sources: RoFormer, arXiv:2104.09864; YaRN, arXiv:2309.00071; LongRoPE, arXiv:2402.13753; for
`llama3` the reference code of Llama 3.1. Names are those of a Hugging Face `config.json`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rotary:
    """Pair i of a head turns by position · `frequencies[i]`, and is stretched by `scale`.

    The pairs are coordinates i and i + n of a head, n = len(frequencies); coordinates from 2n on
    stay as they are. `reach` is the number of positions for which this is right; 0 means as many as
    the model says that it reads.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0
    reach: int = 0

    @property
    def dim(self) -> int:
        """How many coordinates of a head turn."""
        return 2 * len(self.frequencies)


def plain(theta: float, dim: int) -> tuple[float, ...]:
    """What nobody has scaled."""
    return tuple(float(theta ** (-2 * i / dim)) for i in range(dim // 2))


def divided(theta: float, dim: int, factors: Sequence[float]) -> tuple[float, ...]:
    """Each frequency by a factor of its own. Raises `ValueError` if there are more or fewer."""
    pairs = zip(plain(theta, dim), factors, strict=True)
    return tuple(frequency / factor for frequency, factor in pairs)


def from_parameters(given: Mapping[str, Any], dim: int, context: int, longest: int = 0) -> Rotary:
    """The `rope_parameters` of a config that reads `context` tokens, for `dim` coordinates.

    `longest` is how many tokens a context of the engine is to have, 0 if nobody said. Raises
    `ValueError` for a kind that is not known, `KeyError` for what a known one lacks.
    """
    if dim % 2:
        raise ValueError(f"{dim} coordinates of each head turn, which are no pairs")
    theta = given["rope_theta"]
    original = given.get("original_max_position_embeddings") or context
    match given.get("rope_type", given.get("type", "default")):
        case "default":
            return Rotary(plain(theta, dim))
        case "linear":
            factor = given["factor"]
            frequencies = divided(theta, dim, [factor] * (dim // 2))
            return Rotary(frequencies, reach=int(factor * context))
        case "dynamic":
            return _dynamic(theta, dim, given["factor"], context, longest)
        case "llama3":
            return Rotary(_llama3(given, theta, dim, original))
        case "yarn" if "short_factor" not in given:
            factor = given.get("factor") or context / original
            frequencies = _yarn(given, theta, dim, factor, original)
            reach = max(context, int(factor * original))
            return Rotary(frequencies, _yarn_scale(given, factor), reach)
        case "longrope" | "su" | "yarn":  # what Phi-3 once called it
            scale = given.get("attention_factor")
            if scale is None:
                scale = longrope_scale(given.get("factor") or context / original, original)
            short, long = given["short_factor"], given["long_factor"]
            return longrope(theta, dim, short, long, scale, original, longest)
        case other:
            raise ValueError(f"its rotary positions are scaled in a way called {other}")


def longrope(
    theta: float,
    dim: int,
    short: Sequence[float],
    long: Sequence[float],
    scale: float,
    original: int,
    longest: int,
) -> Rotary:
    """With the factors `short` for contexts up to `original` tokens, or with `long` where an
    engine is to hold a longer one. The scale is the same for both, as it is in `transformers`."""
    near, far = divided(theta, dim, short), divided(theta, dim, long)
    return Rotary(far, scale) if longest > original else Rotary(near, scale, reach=original)


def longrope_scale(factor: float, original: int) -> float:
    """What the authors of LongRoPE stretch by when a context becomes `factor` times as long."""
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def _dynamic(theta: float, dim: int, factor: float, context: int, longest: int) -> Rotary:
    """Turned slower the longer a context is beyond `context`, up to `factor` times that."""
    reach = int(factor * context)
    stretch = factor * min(max(longest, context), reach) / context - (factor - 1)
    return Rotary(plain(theta * stretch ** (dim / (dim - 2)), dim), reach=reach)


def _llama3(given: Mapping[str, Any], theta: float, dim: int, original: int) -> tuple[float, ...]:
    """Slow turns are slowed down by `factor`, fast ones are kept, those between are blended."""
    names = ("factor", "low_freq_factor", "high_freq_factor")
    factor, low, high = (float(given[name]) for name in names)

    def scaled(frequency: float) -> float:
        turns = original * frequency / (2 * math.pi)  # within the original context
        kept = min(1.0, max(0.0, (turns - low) / (high - low)))
        return kept * frequency + (1 - kept) * frequency / factor

    return tuple(scaled(frequency) for frequency in plain(theta, dim))


def _yarn(
    given: Mapping[str, Any], theta: float, dim: int, factor: float, original: int
) -> tuple[float, ...]:
    """As `llama3`, but blended by the index of a pair between two bounds."""

    def pair(turns: float) -> float:
        """The index of the pair that turns so often within the original context."""
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair(given.get("beta_fast") or 32), pair(given.get("beta_slow") or 1)
    if given.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    width = (last - first) or 0.001

    def scaled(i: int, frequency: float) -> float:
        slowed = min(1.0, max(0.0, (i - first) / width))
        return frequency * (1 - slowed) + frequency / factor * slowed

    return tuple(scaled(i, f) for i, f in enumerate(plain(theta, dim)))


def _yarn_scale(given: Mapping[str, Any], factor: float) -> float:
    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])

    def stretch(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    one, all_dim = given.get("mscale"), given.get("mscale_all_dim")
    return stretch(one) / stretch(all_dim) if one and all_dim else stretch(1)

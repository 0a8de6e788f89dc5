"""What the reference model says: text and ids that follow from a hash of the tokens before them.

`ir/evaluate.py` (the meaning of a program) and the reference engine both call `value_ids`, so they
agree to the id. `state` is the hash of everything the generation depends on, its draw key and the
exact ids of its prompt:

    state = tokenhash.extend(tokenhash.start(key), prompt_ids)     # key 0 for a greedy generation
    drawn = value_ids(state, tokenizer, max_tokens=16, stop=("\\n",), choices=("yes", "no"))

Any tokenizer will do: free text is made of words that are encoded, never of ids. The words merge
with what follows them, and stop texts appear in the middle of a token, so that the rules for text
held back are put to use. Choices are encoded as they are; a regex and a JSON Schema give a small
instance. An engine that works token by token emits `drawn.ids` one at a time.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parrotc.ir.hashregex import sample_regex
from parrotc.ir.scalar import Encoder
from parrotc.ir.tokenhash import extend
from parrotc.ir.types import Json

WORDS = (
    " the", "a", " model", "ing", ".", ",", "\n", " ", "\n\n", "é", " Ünï", "42", " 7", ": ",
    "{{x}}", "<|im_end|>", "'s", " \t", "日本", "un", " I", "-", "\"",
)  # fmt: skip

_MOST_ITEMS = 10_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """One generation, as `runtime.engines.protocol.Finished` reports it.

    `ids` are all generated ids; the first `kept` of them stay in the context, and `rest` is the
    part of `text` after those. `reason` is stop, length, end or constraint.
    """

    ids: tuple[int, ...]
    text: str
    kept: int
    rest: str
    reason: str
    scores: tuple[tuple[str, float], ...] = ()


def value_ids(
    state: int,
    encoder: Encoder,
    *,
    max_tokens: int = 512,
    stop: Sequence[str] = (),
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    json_schema: str | None = None,
    scored: bool = False,
) -> Drawn:
    """The generation that follows `state`; at most one of the three constraints is given.

    A text cut by `max_tokens` has the reason "length". Raises `ValueError` for a regex with
    look-around, back-references or other parts that only an automaton could not match.
    """
    bits = _Bits(state)
    if choices is not None:
        scores = _scores(choices, bits) if scored else ()
        text = max(scores, key=lambda s: s[1])[0] if scores else bits.pick(choices)
        return _cut(encoder, encoder.encode(text), text, max_tokens, "constraint", scores)
    if regex is not None:
        text = sample_regex(regex, bits.below)
        return _cut(encoder, encoder.encode(text), text, max_tokens, "constraint")
    if json_schema is not None:
        text = json.dumps(_instance(json.loads(json_schema), bits), ensure_ascii=False)
        return _cut(encoder, encoder.encode(text), text, max_tokens, "constraint")
    return _free(encoder, bits, max_tokens, tuple(stop))


class _Bits:
    """An endless stream of small numbers that follow from one state."""

    def __init__(self, state: int) -> None:
        self.state = state

    def below(self, limit: int) -> int:
        self.state = extend(self.state, (limit,))
        return self.state % limit

    def pick(self, options: Sequence[Json]) -> Json:
        return options[self.below(len(options))]


def _free(encoder: Encoder, bits: _Bits, max_tokens: int, stop: tuple[str, ...]) -> Drawn:
    """Words until the hash says enough, a stop text appears, or the limit is reached."""
    ids: list[int] = []
    for token in _tokens(encoder, bits, stop):
        ids.append(token)
        text = encoder.decode(ids)
        at = min((text.find(s) for s in stop if s in text), default=-1)
        if at >= 0:
            return _cut(encoder, ids, text[:at], max_tokens, "stop")
        if len(ids) == max_tokens:
            return _cut(encoder, ids, text, max_tokens, "length")
    return _cut(encoder, ids, encoder.decode(ids), max_tokens, "end")


def _tokens(encoder: Encoder, bits: _Bits, stop: tuple[str, ...]) -> Iterator[int]:
    for _ in range(1 + bits.below(9)):
        word = bits.pick(WORDS)
        if stop and bits.below(4) == 0:
            word += bits.pick(stop) + bits.pick(WORDS)
        yield from encoder.encode(word)


def _cut(
    encoder: Encoder,
    ids: Sequence[int],
    text: str,
    max_tokens: int,
    reason: str,
    scores: tuple[tuple[str, float], ...] = (),
) -> Drawn:
    """Keep the longest run of ids whose text lies inside `text`."""
    if len(ids) > max_tokens:
        ids, reason = ids[:max_tokens], "length"
        text = encoder.decode(list(ids))
    kept = len(ids)
    inside = encoder.decode(list(ids))
    while not text.startswith(inside):
        kept -= 1
        inside = encoder.decode(list(ids[:kept]))
    return Drawn(tuple(ids), text, kept, text[len(inside) :], reason, scores)


def _scores(choices: Sequence[str], bits: _Bits) -> tuple[tuple[str, float], ...]:
    weights = [1 + bits.below(1000) for _ in choices]
    total = sum(weights)
    return tuple((c, weight / total) for c, weight in zip(choices, weights, strict=True))


def _instance(schema: Json, bits: _Bits) -> Json:
    """A value of a JSON Schema, of the kinds that `ir/schema.py` writes."""
    if "anyOf" in schema:
        return _instance(bits.pick(schema["anyOf"]), bits)
    if "enum" in schema:
        return bits.pick(schema["enum"])
    match schema.get("type"):
        case "null":
            return None
        case "boolean":
            return bits.below(2) == 1
        case "integer":
            return _integer(schema, bits)
        case "number":
            return _number(schema, bits)
        case "string":
            return _string(schema, bits)
        case "array":
            least = schema.get("minItems", 0)
            if least > _MOST_ITEMS:
                raise ValueError(f"a list of {least:,} items is too long")
            most = min(schema.get("maxItems", least + 3), least + 3)
            count = least + bits.below(most - least + 1)
            return [_instance(schema["items"], bits) for _ in range(count)]
        case "object":
            parts = schema.get("properties", {})
            return {n: _instance(part, bits) for n, part in parts.items()}
    raise ValueError(f"the reference model cannot make a value of the schema {schema}")


def _integer(schema: Json, bits: _Bits) -> int:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None:
        low = -20 if high is None else high - 40
    return int(low) + bits.below(min(100, (high if high is not None else low + 40) - low + 1))


def _number(schema: Json, bits: _Bits) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None:
        low = -10.0 if high is None else high - 10.0
    width = (high if high is not None else low + 10.0) - low
    step = low + width * (bits.below(9) / 8)
    return float(step) if math.isfinite(step) else float(low)


def _string(schema: Json, bits: _Bits) -> str:
    pattern = schema.get("pattern")
    if pattern is not None:
        return sample_regex(pattern.removeprefix("^").removesuffix("$"), bits.below)
    text = "".join(bits.pick(WORDS) for _ in range(bits.below(4)))
    return text[: schema.get("maxLength", len(text))]

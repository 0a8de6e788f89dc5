"""What a program is compiled for: tokenizers, chat templates and costs, as frozen data.

A pass is `(Module, Target) -> Module`. The target is built by the driver from the models a module
names; passes see only these protocols, so they import no tokenizer library and no runtime.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol


class Tokenizer(Protocol):
    """Text to ids. `encode` never parses special tokens: in a value, `<|im_end|>` is text."""

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides ids."""
        ...

    @property
    def bos(self) -> int | None:
        """What the tokenizer itself puts before a raw text, if anything."""
        ...

    @property
    def specials(self) -> Mapping[str, int]:
        """Special tokens by their text: the only way to get their ids."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...

    def stable_prefix(self, text: str) -> list[int]:
        """Ids of `text` that stay the same whatever text follows (`design/ir.md`); may be empty."""
        ...


class Renderer(Protocol):
    """The text a model's chat template gives for `(role, content)` messages.

    With `prompt`, the opening of an assistant message follows. Raises `ValueError`, in the
    template's own words, for lists it refuses. Templates are programs: the driver brings Jinja.
    """

    def __call__(self, messages: list[tuple[str, str]], *, prompt: bool) -> str: ...


@dataclass(frozen=True)
class Cost:
    """Seconds of an engine, linear: prefill per token, decode per token at batch one and extra."""

    fixed: float = 0.005
    prefill: float = 1 / 800
    decode: float = 1 / 25
    decode_batched: float = 1 / 300


KEPT = 16_384
"""Tokens of prefixes that an engine keeps between runs: twice the default context. In float32 they
take 0.8 GB of a model with 135 million parameters, in bfloat16 2 GB of one with 8 billion."""


Start = tuple[int, ...]  # token ids that a prompt begins with


@dataclass(frozen=True)
class ModelTarget:
    """One model of the program. A text endpoint (chat API) has no tokenizer: messages stay.

    `kept` is how many tokens of prefixes may stay filled between runs, until a program is closed.
    `starts` are what prompts of other programs on its engine may begin with.
    """

    tokenizer: Tokenizer | None
    render: Renderer | None
    context_length: int = 8192
    cost: Cost = Cost()
    kept: int = KEPT
    starts: tuple[Start, ...] = ()


@dataclass(frozen=True)
class Target:
    models: Mapping[str, ModelTarget] = field(default_factory=dict)

    def with_starts(self, starts: Mapping[str, Iterable[Start]]) -> "Target":
        """The same, where prompts of other programs begin with `starts`, by model."""
        models = dict(self.models)
        for name, found in starts.items():
            models[name] = replace(models[name], starts=tuple(dict.fromkeys(found)))
        return Target(models)

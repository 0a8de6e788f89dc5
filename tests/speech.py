"""A generation run to its end over a model that is noise, without an engine."""

from collections.abc import Sequence
from typing import Any

import torch

from parrotc.runtime.engines.embedded.generation import Generation
from parrotc.runtime.engines.embedded.grammar import Grammars
from parrotc.runtime.engines.embedded.sampler import draw_batch
from parrotc.runtime.engines.protocol import (
    Constraint,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.tokenizer import Tokenizer

torch.set_num_threads(1)  # small tensors, and other tests at the same time

_CLOSING = '"]}'


def speak(
    tokenizer: Tokenizer,
    grammars: Grammars,
    seed: int,
    constraint: Constraint | None = None,
    *,
    prompt: Sequence[int] = (),
    room: int = 300,
    **sampling: Any,
) -> Finished:
    """What noise with this seed says; it leans towards ending things the longer it goes on.

    Checks on the way that the pieces are the text and tell its first ids. Raises `EngineError`.
    """
    pieces: list[Piece] = []
    request = GenerateRequest(2, 1, Sampling(**sampling), constraint)
    generation = Generation(
        request, tokenizer, grammars, prompt=lambda: prompt, room=room, post=pieces.append
    )
    noise = torch.Generator().manual_seed(seed)
    closing = [*tokenizer.eos, *(tokenizer.encode(one)[0] for one in _CLOSING)]
    reason = None
    while reason is None:
        logits = torch.randn(1, tokenizer.vocab_size, generator=noise) * 2
        logits[0, closing] += generation.position / 4
        reason = generation.take(draw_batch(logits, [generation])[0])
    last, finished = generation.finished(reason)
    pieces.append(last)
    assert "".join(piece.text for piece in pieces) == finished.text
    told = [token for piece in pieces for token in piece.ids]
    assert tuple(told) == finished.ids[: len(told)]
    assert len(told) <= finished.kept or not finished.text
    return finished

"""Tokens that a grammar leaves no choice of cost no step of the model, and change nothing else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cells import Cells, prompt  # noqa: E402
from wantedtypes import TYPES  # noqa: E402

from parrotc.ir.schema import constraint_of  # noqa: E402
from parrotc.ir.types import Type  # noqa: E402
from parrotc.runtime.engines.embedded.grammar import Matcher  # noqa: E402
from parrotc.runtime.engines.embedded.jobs import Generating  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Limits  # noqa: E402
from parrotc.runtime.engines.embedded.scheduler import Scheduler  # noqa: E402
from parrotc.runtime.engines.protocol import (  # noqa: E402
    Constraint,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.tokenizer import Tokenizer  # noqa: E402

Small = Callable[[str], Tokenizer]

PERSON = Constraint(
    json_schema=json.dumps(
        {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
                "occupation": {"enum": ["teacher", "doctor", "engineer"]},
                "is_member": {"type": "boolean"},
            },
            "required": ["age", "occupation", "is_member"],
            "additionalProperties": False,
        }
    )
)


class Noise(Cells):
    """A model with a number for each token, which depends on all tokens before."""

    vocab = 0

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        tokens = torch.arange(1, self.vocab + 1)[None]
        return ((tokens * states.long()[:, :1]) % 9973 / 1000.0).double()


@dataclass
class Heard:
    """All that a caller can notice of generations that run together, and what it took: for each
    step how many tokens of each generation."""

    items: list[list[Piece | Finished | EngineError]] = field(default_factory=list)
    after: list[tuple[int, ...]] = field(default_factory=list)
    plans: list[list[tuple[type, int]]] = field(default_factory=list)
    forced: int = 0

    @property
    def steps(self) -> int:
        return len(self.plans)


def heard(
    tokenizer: Tokenizer, asked: Sequence[tuple[Constraint, Sampling]], **limits: int
) -> Heard:
    """Each below a prompt of its own, and then a few tokens more after what it said."""
    settings = Limits(**{"max_total_tokens": 4000, "block_size": 4} | limits)
    runner = Noise(settings)
    runner.vocab = tokenizer.vocab_size
    scheduler = Scheduler(runner, tokenizer, settings, context_length=400)  # type: ignore[arg-type]
    found = Heard([[] for _ in asked])
    for n, (constraint, sampling) in enumerate(asked):
        scheduler.fill([FillRequest(n, None, prompt(n, 5 + n))], lambda error: None)
        request = GenerateRequest(100 + n, n, sampling, constraint)
        scheduler.generate(request, found.items[n].append)
    _run(scheduler)
    found.plans, found.forced = list(runner.plans), scheduler.forced
    for n, items in enumerate(found.items):
        if isinstance(items[-1], Finished):
            more: list[Any] = []
            scheduler.generate(GenerateRequest(200, 100 + n, Sampling(max_tokens=3)), more.append)
            _run(scheduler)
            found.after.append(more[-1].ids)
            scheduler.free(200)
            scheduler.free(100 + n)
        scheduler.free(n)
    assert not any(scheduler.memory.pool.holders)
    return found


def _run(scheduler: Scheduler) -> None:
    while scheduler.has_work:
        scheduler.iterate()


def both(
    tokenizer: Tokenizer, asked: Sequence[tuple[Constraint, Sampling]], **limits: int
) -> tuple[Heard, Heard]:
    """With forced tokens, and a step for each of them."""
    quick = heard(tokenizer, asked, **limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Matcher, "forced", lambda self: ())
        return quick, heard(tokenizer, asked, **limits)


SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 40),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([0, 20]),
    key=st.integers(0, 99),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    min_tokens=st.sampled_from([0, 3]),
    logprobs=st.sampled_from([-1, -1, 2]),
)


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(st.tuples(TYPES, SAMPLINGS), min_size=1, max_size=4), room=st.integers(6, 60))
def test_nothing_else_changes(small: Small, asked: list[tuple[Type, Sampling]], room: int) -> None:
    """Every piece and every field of the end, for schemas nobody wrote, in little room too."""
    constraints = [(_constraint(type_), sampling) for type_, sampling in asked]
    assume(constraints)
    quick, slow = both(
        small("smollm"),
        [(wanted, sampling) for wanted, sampling in constraints if wanted is not None],
        max_num_batched_tokens=room,
        max_batch_size=3,
        fill_chunk_size=5,
        max_total_tokens=300,
    )
    assert quick.items == slow.items
    assert quick.after == slow.after
    assert slow.forced == 0


def _constraint(type_: Type) -> Constraint | None:
    wanted = constraint_of(type_)
    if wanted.choices is None and wanted.regex is None and wanted.json_schema is None:
        return None
    return Constraint(wanted.choices, wanted.regex, wanted.json_schema)


def test_a_json_object_takes_fewer_steps(smollm: Tokenizer) -> None:
    """With the embedded model's tokens: names, quotes and commas come of themselves."""
    quick, slow = both(smollm, [(PERSON, Sampling(max_tokens=60))])
    assert quick.items == slow.items
    (end,) = [item for item in quick.items[0] if isinstance(item, Finished)]
    assert end.reason == "constraint" and json.loads(end.text)["occupation"]
    assert quick.forced >= 0.6 * len(end.ids)
    assert quick.steps <= slow.steps - quick.forced + 1


def test_what_is_forced_goes_before_prompts_and_lets_others_speak(smollm: Tokenizer) -> None:
    """Eight at once with room for ten tokens: nobody stands still while others have much to say."""
    asked = [(PERSON, Sampling(max_tokens=60)) for _ in range(8)]
    quick, slow = both(smollm, asked, max_num_batched_tokens=10, max_batch_size=8)
    assert quick.items == slow.items
    assert quick.steps < slow.steps
    speaking = [sum(kind is Generating for kind, _ in plan) for plan in quick.plans]
    until = speaking.index(max(speaking))
    assert max(speaking) > 3 and speaking[:until] == sorted(speaking[:until])


def test_a_long_prompt_does_not_hold_up_what_is_forced(smollm: Tokenizer) -> None:
    """A run of forced tokens is no prompt: it does not wait for its turn among those."""
    settings = Limits(max_total_tokens=4000, block_size=4, fill_chunk_size=4)
    runner = Noise(settings)
    runner.vocab = smollm.vocab_size
    scheduler = Scheduler(runner, smollm, settings, context_length=400)  # type: ignore[arg-type]
    said: list[Any] = []
    scheduler.fill([FillRequest(1, None, prompt(1, 4))], lambda error: None)
    scheduler.fill([FillRequest(2, None, prompt(2, 380))], lambda error: None)
    scheduler.generate(GenerateRequest(3, 1, Sampling(max_tokens=60), PERSON), said.append)
    while not (said and isinstance(said[-1], Finished)):
        scheduler.iterate()
    kinds = [[kind for kind, _ in plan] for plan in runner.plans[3:]]
    assert all(Generating in one for one in kinds), kinds


def test_how_probable_tokens_are_is_told_of_forced_ones_too(smollm: Tokenizer) -> None:
    quick, slow = both(smollm, [(PERSON, Sampling(max_tokens=60, logprobs=1))])
    assert quick.items == slow.items and quick.forced == 0
    end = quick.items[0][-1]
    assert isinstance(end, Finished) and len(end.logprobs) == len(end.ids)

"""Penalties: against their formulas, one token at a time, and against `transformers`."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from parrotc.runtime.engines.embedded.penalties import Penalties, penalize  # noqa: E402
from parrotc.runtime.engines.protocol import Sampling  # noqa: E402

torch.set_num_threads(1)  # small tensors, and other tests at the same time

VOCAB = 12
IDS = st.lists(st.integers(0, VOCAB - 1), max_size=15)
SETTINGS = st.builds(
    Sampling,
    repetition_penalty=st.sampled_from([1.0, 1.0, 0.5, 1.2, 3.0]),
    presence_penalty=st.sampled_from([0.0, 0.0, 1.5, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.0, 0.25, -1.0]),
)
ROWS = st.lists(st.tuples(SETTINGS, IDS, IDS), min_size=1, max_size=5)


def formula(logit: float, sampling: Sampling, in_prompt: bool, count: int) -> float:
    if in_prompt or count:
        factor = sampling.repetition_penalty
        logit = logit / factor if logit > 0 else logit * factor
    logit -= count * sampling.frequency_penalty
    return logit - (1 if count else 0) * sampling.presence_penalty


def tracked(sampling: Sampling, prompt: list[int], output: list[int]) -> Penalties | None:
    """As a generation keeps them: none without penalties, and the prompt where it counts."""
    if not sampling.has_penalties:
        return None
    looks_back = sampling.repetition_penalty != 1.0
    penalties = Penalties(sampling, prompt if looks_back else [], len(output))
    for token in output:
        penalties.push(token)
    return penalties


def noise(rows: int, seed: int) -> torch.Tensor:
    logits = torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)).double() * 3
    logits[:, seed % VOCAB] = 0.0
    logits[:, (seed + 5) % VOCAB] = float("-inf")
    return logits


@settings(deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_penalties_are_their_formulas(
    rows: list[tuple[Sampling, list[int], list[int]]], seed: int
) -> None:
    logits = noise(len(rows), seed)
    expected = [
        [
            formula(logit, sampling, token in prompt, Counter(output)[token])
            for token, logit in enumerate(row.tolist())
        ]
        for row, (sampling, prompt, output) in zip(logits, rows, strict=True)
    ]
    penalize(logits, [tracked(*row) for row in rows])
    for row, wanted in zip(logits.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(prompt=IDS, output=IDS, factor=st.sampled_from([0.7, 1.3]), seed=st.integers(0, 99))
def test_repetition_is_that_of_transformers(
    processor: Any, prompt: list[int], output: list[int], factor: float, seed: int
) -> None:
    logits = noise(1, seed).float()
    expected = processor(factor)(torch.tensor([prompt + output]).long(), logits.clone())
    penalize(logits, [tracked(Sampling(repetition_penalty=factor), prompt, output)])
    assert torch.equal(logits, expected)


@pytest.fixture(scope="module")
def processor() -> Any:
    module = pytest.importorskip("transformers.generation.logits_process")
    return module.RepetitionPenaltyLogitsProcessor


def test_a_penalty_makes_what_was_said_less_likely() -> None:
    """The signs, for logits of both signs: a token said before falls, the others stay."""
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
        penalize(logits, [tracked(Sampling(**{name: 1.5}), [], [0, 1])])
        assert logits[0, 0] < 2 and logits[0, 1] < -2
        assert logits[0, 2:].tolist() == [2, -2]


def test_the_prompt_counts_for_repetition_only() -> None:
    logits = torch.tensor([[2.0, 2.0]]).repeat(2, 1)
    rows = [
        tracked(Sampling(repetition_penalty=2.0), [0, 0, 0], []),
        tracked(Sampling(presence_penalty=2.0, frequency_penalty=1.0), [0, 0, 0], []),
    ]
    penalize(logits, rows)
    assert logits.tolist() == [[1.0, 2.0], [2.0, 2.0]]

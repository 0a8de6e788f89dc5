"""Draws: their frequencies, their limits, and that nothing but the key decides."""

import pytest

torch = pytest.importorskip("torch")

from parrotc.runtime.engines.embedded import sampler  # noqa: E402
from parrotc.runtime.engines.embedded.sampler import choose, draw  # noqa: E402
from parrotc.runtime.engines.protocol import Sampling  # noqa: E402

P = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])


def frequencies(count: int = 4000, **limits) -> list[float]:
    wanted = Sampling(**({"temperature": 1.0, "key": 7} | limits))
    drawn = [choose(P.log(), wanted, n) for n in range(count)]
    return [drawn.count(token) / count for token in range(len(P))]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.07, 0.03]),
        ({"temperature": 0.5}, [0.727, 0.182, 0.065, 0.014, 0.003]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.7}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.76}, [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]),
        ({"min_p": 0.2}, [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]),
        ({"min_p": 0.2, "top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0, 0]),
        ({"temperature": 0.0, "top_k": 3}, [1, 0, 0, 0, 0]),
    ],
)
def test_frequencies(limits: dict, expected: list[float]) -> None:
    assert frequencies(**limits) == pytest.approx(expected, abs=0.025)


def test_draws_are_uniform_and_depend_on_key_and_position() -> None:
    numbers = torch.tensor([draw(3, n) for n in range(4000)])
    assert torch.histc(numbers, 10, 0, 1).sub(400).abs().max() < 90
    assert draw(3, 5) == draw(3, 5)
    assert len({draw(key, n) for key in range(30) for n in range(30)}) == 900


def test_a_long_tail_is_sorted_only_when_it_counts() -> None:
    """top_p over more tokens than are looked at first: as if all had been sorted."""
    logits = torch.linspace(0, 0.001, 5000)
    drawn = {choose(logits, Sampling(temperature=1.0, top_p=0.5, key=1), n) for n in range(400)}
    assert min(drawn) >= 2490 and min(drawn) < 2800 and max(drawn) > 4900


@pytest.mark.parametrize(("number", "token"), [(0.0, 3), (0.5, 50), (1 - 2**-53, 98)])
def test_what_is_impossible_is_never_drawn(
    monkeypatch: pytest.MonkeyPatch, number: float, token: int
) -> None:
    logits = torch.full((100,), float("-inf"))
    logits[[3, 50, 98]] = 0.0
    monkeypatch.setattr(sampler, "draw", lambda key, position: number)
    assert choose(logits, Sampling(temperature=1.0), 0) == token

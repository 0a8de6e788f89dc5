"""What a core knows of its engines is what they say of themselves."""

import pytest

from parrotc.runtime.core.specs import spec_of
from parrotc.runtime.engines.protocol import Ability, EngineInfo, Speed
from parrotc.runtime.scheduling.engines import Role


def info(**ability: object) -> EngineInfo:
    return EngineInfo("embedded", "m", "f", 2048, ability=Ability(**ability))  # type: ignore[arg-type]


def test_room_and_kind_are_the_engines_own() -> None:
    told = info(slots=5, tokens=9000, shares=False, caches=False, resumes=False)
    spec = spec_of("e", "m", told, Role.LATENCY)
    assert (spec.slots, spec.tokens, spec.context_length) == (5, 9000, 2048)
    assert not (spec.shares or spec.caches or spec.resumes)
    assert spec.role is Role.LATENCY


def test_a_promise_of_seconds_is_kept_by_what_was_measured() -> None:
    """10 ms a step and 20 µs a held token: 2,000 tokens may be held for steps of 50 ms."""
    cost = spec_of("e", "m", info(speed=Speed(step=0.01, read=2e-5, fill=1e-3))).cost
    assert cost.step(0) == pytest.approx(0.01)
    assert cost.step(2000) == pytest.approx(0.05)
    assert cost.tokens_within(0.05) == pytest.approx(2000)
    assert cost.fill == 1e-3


def test_reading_that_costs_nothing_one_can_measure() -> None:
    cost = spec_of("e", "m", info(speed=Speed(step=0.01, read=0.0, fill=1e-3))).cost
    assert cost.tokens_within(0.02) > 1e9
    assert cost.tokens_within(0.005) == 0


def test_an_engine_that_says_nothing_gets_the_usual() -> None:
    spec = spec_of("e", "m", info())
    assert (spec.slots, spec.tokens) == (64, 400_000)
    assert spec.shares and spec.caches and spec.resumes

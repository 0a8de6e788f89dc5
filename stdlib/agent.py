"""Plan, act, review (`std.agent`): a goal in rounds of small steps.

The steps are texts that a model writes. An agent that runs tools of yours is a flow of yours, in
the same shape: `docs/stdlib.md` shows one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from parrotc.python.standard import standard


@dataclass(frozen=True)
class Step:
    what: str
    result: str


@dataclass(frozen=True)
class Plan:
    """The next step, and at most two after it."""

    first: str
    more: list[str]


@dataclass(frozen=True)
class Verdict:
    done: bool
    advice: str


@dataclass(frozen=True)
class Outcome:
    """`done`: whether the last review said that the goal is reached."""

    answer: str
    done: bool
    steps: list[Step]


@standard
def plan_steps(goal: str, steps: Sequence[Step], advice: str) -> Plan:
    """The next few steps towards a goal."""


@standard
def act(goal: str, steps: Sequence[Step], what: str) -> str:
    """What one step gives."""


@standard
def review(goal: str, steps: Sequence[Step]) -> Verdict:
    """Whether the goal is reached, and what to do next if it is not."""


@standard
def conclude(goal: str, steps: Sequence[Step]) -> str:
    """The answer that the work leads to."""


@standard
def work(goal: str, rounds: int = 3) -> Outcome:
    """At most `rounds` rounds of at most three steps each and a review; then an answer."""

"""Choosing among several answers to one question (`std.vote`).

Answers are any JSON data. Texts that differ only in case and outer white space are one answer: a
model that says "Yes" and one that says "yes" agree. The answer that comes back is one that was
given, in its first form.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from parrotc.python.standard import standard

if TYPE_CHECKING:
    from parrotc import Scored

T = TypeVar("T")


def majority(answers: Sequence[T]) -> T:
    """The answer given most often; among equals, the one given first.

    Raises `ValueError` if there is no answer.
    """
    return weighted(answers, [1.0] * len(answers))


def weighted(answers: Sequence[T], weights: Sequence[float]) -> T:
    """The answer with the greatest sum of weights; among equals, the one given first.

    Raises `ValueError` if there is no answer, or not one weight for each.
    """
    if not answers:
        raise ValueError("there is no answer to choose from")
    totals = _totals(answers, weights)
    best = max(totals, key=totals.__getitem__)  # the first of the greatest
    return next(answer for answer in answers if _key(answer) == best)


def agreement(answers: Sequence[T]) -> float:
    """The share of the answers that say what the majority says; 0 if there is none."""
    if not answers:
        return 0.0
    return max(_totals(answers, [1.0] * len(answers)).values()) / len(answers)


class Attempt(NamedTuple):
    work: str
    answer: str


@standard
def attempt(task: str) -> Attempt:
    """One draw: some reasoning of at most 256 tokens, and a short answer."""


@standard
def judge(task: str, answer: str) -> "Scored[Literal['yes', 'no']]":
    """Whether an answer is right: `dist["yes"]` is how likely the model finds that."""


@standard
def draft(task: str) -> str:
    """One draw of a longer text."""


@standard
def consistent(task: str, n: int = 5) -> str:
    """Self-consistency: `n` draws that reason apart, and the answer that most of them reach."""


@standard
def consistent_by_score(task: str, n: int = 5) -> str:
    """The same, where each draw counts as much as the model trusts it."""


@standard
def best_of(task: str, n: int = 4) -> str:
    """Best of n: `n` drafts, and the one that the model as a judge likes best."""


def _totals(answers: Sequence[object], weights: Sequence[float]) -> dict[str, float]:
    if len(answers) != len(weights):
        raise ValueError(f"{len(answers)} answers have {len(weights)} weights")
    totals: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        totals[_key(answer)] = totals.get(_key(answer), 0.0) + weight
    return totals


def _key(answer: object) -> str:
    """What makes two answers the same."""
    plain = " ".join(answer.split()).casefold() if isinstance(answer, str) else answer
    return json.dumps(plain, sort_keys=True)

"""Searching for a line of thought (`std.search`): several ways at a time, the best kept.

The promise of a state is the probability that the model itself gives to "yes, this leads on".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from parrotc.python.standard import standard

if TYPE_CHECKING:
    from parrotc import Scored


@dataclass(frozen=True)
class Path:
    """Steps and how promising they are: for `beam` the product of the probabilities after each
    step, for `thoughts` the probability after the last."""

    steps: list[str]
    mark: float


@dataclass(frozen=True)
class Solution:
    answer: str
    path: Path


@standard
def propose(problem: str, steps: Sequence[str]) -> str:
    """One next step of a solution."""


@standard
def judge(problem: str, steps: Sequence[str]) -> "Scored[Literal['yes', 'no']]":
    """Whether the steps so far lead to a solution."""


@standard
def is_solved(problem: str, steps: Sequence[str]) -> bool:
    """Whether the steps solve the problem."""


@standard
def conclude(problem: str, steps: Sequence[str]) -> str:
    """The answer that the steps lead to."""


@standard
def beam(problem: str, width: int = 3, draws: int = 3, depth: int = 3) -> list[Path]:
    """Each of the `width` best paths grows by `draws` next steps, `depth` times; best first."""


@standard
def thoughts(problem: str, width: int = 2, draws: int = 3, depth: int = 4) -> Solution:
    """Tree of thought: the same by the promise of each state alone, until the best one solves
    the problem."""

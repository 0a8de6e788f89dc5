"""One question, thought about in several ways: votes, drafts that are judged, and searches."""

from typing import NamedTuple

from parrotc import flow
from parrotc.stdlib.list import unique
from parrotc.stdlib.search import beam, conclude, thoughts
from parrotc.stdlib.vote import (
    agreement,
    attempt,
    best_of,
    consistent,
    consistent_by_score,
    majority,
)


class Answers(NamedTuple):
    vote: str
    trusted: str
    text: str


@flow
def answer(question: str, n: int = 5) -> Answers:
    return Answers(
        vote=consistent(question, n),
        trusted=consistent_by_score(question, n),
        text=best_of(question, n),
    )


@flow
def careful(question: str, n: int = 5, floor: float = 0.6) -> str:
    tries = [t.answer.strip() for t in attempt.with_(n=n)(question)]
    if agreement(tries) >= floor:
        return majority(tries)
    else:
        return thoughts(question, width=2, draws=2, depth=3).answer


@flow
def paths(question: str, width: int = 2) -> list[str]:
    found = beam(question, width, draws=2, depth=2)
    return unique([conclude(question, path.steps) for path in found])

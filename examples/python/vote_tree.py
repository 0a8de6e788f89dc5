"""Self-consistency (fork & vote) and a small tree-of-thought search."""

from typing import Annotated, NamedTuple

from pydantic import Field

from parrotc import assistant, flow, pfunc, user
from parrotc.stdlib.list import top_k
from parrotc.stdlib.vote import majority


class Solved(NamedTuple):
    work: str
    answer: str


@pfunc
def solve(problem: str) -> Solved:
    """
    {{problem}}

    Think step by step.
    {{gen work, max_tokens=400, temperature=0.8, stop="ANSWER:"}}
    ANSWER:
    {{gen answer, max_tokens=16, stop="\n"}}
    """


@flow
def self_consistency(problem: str, n: int = 8) -> str:
    tries = solve.with_(n=n)(problem)
    return majority([t.answer for t in tries])


@pfunc
def next_step(problem: str, path: list[str]) -> str:
    """
    Problem: {{problem}}
    Steps so far:
    """
    for s in path:
        "{{s}}"
    '{{gen max_tokens=60, temperature=0.9, stop="\n"}}'


@pfunc
def rate(problem: str, path: list[str]) -> Annotated[int, Field(ge=1, le=10)]:
    user("""
        Problem: {{problem}}
        Candidate: {{path | join("; ")}}
        How promising is this, from 1 to 10?
    """)
    assistant("{{gen}}")


@flow
def tree_search(problem: str, width: int = 3, depth: int = 3) -> list[str]:
    beam = [[]]
    for level in range(depth):
        grown = [p + [s] for p in beam for s in next_step.with_(n=width)(problem, p)]
        marks = [rate.with_(criteria="throughput")(problem, p) for p in grown]
        beam = top_k(grown, marks, width)
    return beam[0]

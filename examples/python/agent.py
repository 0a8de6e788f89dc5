"""Agents that plan, act and review: the library's, and one with a tool of its own."""

from dataclasses import dataclass

from parrotc import flow, native
from parrotc.stdlib.agent import Outcome, Step, conclude, plan_steps, review, work
from parrotc.stdlib.text import join


@dataclass
class Doc:
    id: str
    text: str


@native("app.retrieval:search", idempotent=True)
def search(query: str, k: int = 4) -> list[Doc]: ...


@flow(criteria="throughput")
def think(goal: str) -> Outcome:
    return work(goal, rounds=2)


@flow
def research(goal: str, rounds: int = 2) -> str:
    steps: list[Step] = []
    advice = "Each step is a few words to search our notes for."
    for round in range(rounds):
        plan = plan_steps(goal, steps, advice)
        for what in [plan.first] + plan.more:
            found = [doc.text for doc in search(what, 2)]
            step = Step(what=what, result=join(found))
            steps = steps + [step]
        verdict = review(goal, steps)
        advice = verdict.advice
        if verdict.done:
            break
    return conclude(goal, steps)

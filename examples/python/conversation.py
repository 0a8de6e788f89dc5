"""A conversation as data: whoever calls keeps the turns, and gives them back with the next one."""

from parrotc import flow
from parrotc.stdlib.chat import Turn, recent, reply, respond, said, transcript

ROLE = "You are a patient sailing teacher. You answer in at most two sentences."


@flow(criteria="latency")
def chat(turns: list[Turn], text: str) -> list[Turn]:
    return respond(turns, text, ROLE, size=2000)


@flow
def interview(questions: list[str]) -> str:
    turns: list[Turn] = []
    for question in questions:
        turns = chat(turns, question)
    return transcript(turns)


@flow
def asides(turns: list[Turn], questions: list[str]) -> list[str]:
    return [reply(recent(said(turns, "user", question)), ROLE) for question in questions]

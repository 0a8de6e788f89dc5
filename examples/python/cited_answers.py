"""Answers from a handbook, each with the passages that it rests on."""

from parrotc import embed, flow
from parrotc.stdlib.list import flatten, some
from parrotc.stdlib.qa import Cited, Passage, ask
from parrotc.stdlib.text import chunk, join, paragraphs, words

HANDBOOK = embed("../handbook.md")


@flow
def handbook() -> list[Passage]:
    parts = flatten([chunk(paragraph, 600) for paragraph in paragraphs(HANDBOOK)])
    said = some([part if len(words(part)) > 4 else None for part in parts])
    return [Passage(id=f"§{number + 1}", text=part) for number, part in enumerate(said)]


@flow(criteria="latency")
def look_up(question: str, k: int = 3) -> Cited:
    return ask(question, handbook(), k)


@flow
def look_up_all(questions: list[str]) -> list[str]:
    found = [look_up(question) for question in questions]
    return [f"{f.text} ({join([p.id for p in f.passages], ', ')})" for f in found]

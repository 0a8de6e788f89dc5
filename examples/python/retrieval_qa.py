"""Retrieval QA: one long system prompt for every user, a Python function, a typed answer."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from parrotc import assistant, embed, flow, native, pfunc, system, user

HANDBOOK = embed("../handbook.md")


@dataclass
class Doc:
    id: str
    text: str


class Answer(BaseModel):
    text: Annotated[str, Field(max_length=300)]
    cited: list[Annotated[str, Field(max_length=8)]] = Field(
        max_length=4, description="ids of the sources used"
    )


@native("app.retrieval:search", idempotent=True, timeout="2s")
def search(query: str, k: int = 4) -> list[Doc]: ...


@pfunc
def answer(docs: list[Doc], question: str) -> Answer:
    system("""
        You answer questions about our product for one customer at a time.
        Use only the handbook and the sources. Say "I don't know" otherwise.

        {{HANDBOOK}}
    """)
    with user:
        for d in docs:
            "[{{d.id}}] {{d.text}}"
        "Question: {{question}}"
    assistant("{{gen max_tokens=300}}")


@flow(criteria="latency", ttft="300ms")
def ask(question: str) -> Answer:
    return answer(search(question), question)

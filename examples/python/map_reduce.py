"""Map-reduce summarisation: one call per part, one call to merge."""

from parrotc import assistant, flow, model, pfunc, system, user
from parrotc.stdlib.text import chunk

local = model.builtin("smollm2-135m-instruct")

STYLE = "You summarise faithfully, add no facts, and write plain prose."


@pfunc
def digest(part: str) -> str:
    system("{{STYLE}}")
    user("""
        Summarise this passage in at most three sentences.

        {{part}}
    """)
    assistant('{{gen max_tokens=160, stop="\n\n"}}')


@pfunc
def merge(notes: list[str]) -> str:
    system("{{STYLE}}")
    with user:
        "Merge the partial summaries below into one paragraph."
        for note in notes:
            "- {{note}}"
    assistant("{{gen max_tokens=300}}")


@flow(model=local, criteria="latency")
def summarise(doc: str, size: int = 1200) -> str:
    notes = [digest(part) for part in chunk(doc, size)]
    return merge(notes)

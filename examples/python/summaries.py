"""One long text, summarised in a way of your choice: all of it is the standard library."""

from typing import Literal

from parrotc import flow
from parrotc.stdlib.summarize import digest, map_reduce, refine, tree
from parrotc.stdlib.text import chunk_tokens, dedent, join, shorten, tokens


@flow(criteria="throughput")
def summarise(
    doc: str, way: Literal["parts", "turns", "levels"] = "parts", size: int = 1500
) -> str:
    plain = dedent(doc)
    match way:
        case "parts":
            return map_reduce(plain, size)
        case "turns":
            return refine(plain, size)
        case "levels":
            return tree(plain, size, fan_in=3)


@flow
def contents(doc: str, limit: int = 300) -> str:
    return join([noted(part) for part in chunk_tokens(doc, limit)])


@flow
def noted(part: str) -> str:
    note = digest(part, "names and numbers")
    return f"{shorten(part, 40)} ({tokens(part)} tokens): {note}"

"""Chain / refine summarisation: a loop-carried value, so calls are sequential."""

from parrotc import flow, pfunc
from parrotc.stdlib.text import chunk


@pfunc
def open_summary(text: str, words: int) -> str:
    """
    Write a summary of the text below in at most {{words}} words.

    {{text}}

    SUMMARY:
    {{gen max_tokens=200}}
    """


@pfunc
def refine(draft: str, text: str, words: int) -> str:
    """
    Here is a summary so far:
    {{draft}}

    Improve it using the new text below, if the text adds anything.
    Stay under {{words}} words.

    {{text}}

    SUMMARY:
    {{gen max_tokens=200}}
    """


@flow(criteria="throughput")
def summarise(doc: str, words: int = 100) -> str:
    parts = chunk(doc, size=2000)
    draft = open_summary(parts[0], words)
    for text in parts[1:]:
        draft = refine(draft, text, words)
    return draft

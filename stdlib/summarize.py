"""Summaries of texts that are longer than a prompt (`std.summarize`).

`map_reduce` runs its calls at the same time and reads each part once; `refine` runs them in turn,
so what comes late is read knowing what came before; `tree` is for texts whose notes together are
again longer than a prompt. Each call generates at most 256 tokens. An empty text has an empty
summary, and no call.
"""

from collections.abc import Sequence

from parrotc.python.standard import standard


@standard
def digest(part: str, focus: str = "what matters most") -> str:
    """One part of a text in a few sentences."""


@standard
def merge(notes: Sequence[str], focus: str = "what matters most") -> str:
    """Several summaries as one."""


@standard
def improve(summary: str, part: str, focus: str = "what matters most") -> str:
    """A summary, improved by what the next part of the text adds."""


@standard
def map_reduce(doc: str, size: int = 4000, focus: str = "what matters most") -> str:
    """Every part of at most `size` characters by itself, then one call that merges."""


@standard
def refine(doc: str, size: int = 4000, focus: str = "what matters most") -> str:
    """One part after the other: each call improves the summary of what came before."""


@standard
def tree(doc: str, size: int = 4000, fan_in: int = 4, focus: str = "what matters most") -> str:
    """Every part by itself, then notes merged `fan_in` at a time until one is left."""

"""What `examples/retrieval_qa.pfn` searches: a few support notes, ranked by shared words.

Stands in for a search engine. The score is TF-IDF without length normalisation, which is plenty
for a dozen notes.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import TypedDict


class Doc(TypedDict):
    id: str
    text: str


_DATA = Path(__file__).resolve().parent.parent / "data"
NOTES: dict[str, str] = json.loads((_DATA / "notes.json").read_text())

_WORD = re.compile(r"[a-z0-9]{4,}")  # shorter words tell little


def search(query: str, k: int = 4) -> list[Doc]:
    """The `k` notes that share the most telling words with the query, best first."""
    asked = set(_words(query))
    ranked = sorted(NOTES, key=lambda name: (-_score(asked, NOTES[name]), name))
    return [{"id": name, "text": NOTES[name]} for name in ranked[: max(k, 0)]]


def _score(asked: set[str], text: str) -> float:
    counts = Counter(_words(text))
    return sum(counts[word] * _rarity(word) for word in asked)


def _rarity(word: str) -> float:
    """How telling a word is: the fewer notes have it, the more."""
    found = sum(word in _words(text) for text in NOTES.values())
    return math.log((1 + len(NOTES)) / (1 + found))


def _words(text: str) -> list[str]:
    """Lower-case words of at least four letters, without a plural `s`."""
    return [word.removesuffix("s") for word in _WORD.findall(text.lower())]

"""Questions answered from passages, with citations that are checked (`std.qa`).

The model cites passages by number, so it can neither misspell a name nor invent one that looks
right; what it cites is looked up, and a number that no passage has is told apart.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from parrotc.python.decorators import native
from parrotc.python.standard import standard

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Passage:
    id: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What the model says: numbers count the passages it was shown from 1."""

    text: str
    cited: list[int]


@dataclass(frozen=True)
class Cited:
    """An answer, the passages that it cites, and cited numbers that no passage has."""

    text: str
    passages: list[Passage]
    unknown: list[int]


@native
def search(question: str, passages: list[Passage], k: int = 4) -> list[Passage]:
    """The `k` passages that share the most telling words with the question, best first.

    The score is BM25 (k1 = 1.2, b = 0.75) over words without case or a plural `s`. A passage that
    shares no word with the question is not among them; equal scores keep their order.
    """
    counts = [Counter(_words(passage.text)) for passage in passages]
    scores = _bm25(set(_words(question)), counts)
    order = sorted(range(len(passages)), key=lambda at: -scores[at])
    return [passages[at] for at in order[: max(k, 0)] if scores[at] > 0]


@native
def checked(answer: Answer, passages: list[Passage]) -> Cited:
    """An answer with the passages that it cites, each once, and the numbers that name none."""
    numbers = list(dict.fromkeys(answer.cited))
    known = [number for number in numbers if 1 <= number <= len(passages)]
    unknown = [number for number in numbers if number not in known]
    return Cited(answer.text, [passages[number - 1] for number in known], unknown)


@standard
def answer(question: str, passages: list[Passage], wrong: Sequence[int] = ()) -> Answer:
    """An answer from numbered passages. `wrong` are numbers that an earlier try cited in vain."""


@standard
def ask(question: str, passages: list[Passage], k: int = 4) -> Cited:
    """An answer from the `k` best passages; asked once more if it cites what is not there."""


def _words(text: str) -> list[str]:
    return [_singular(word) for word in _WORD.findall(text.casefold())]


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _bm25(
    asked: set[str], passages: list[Counter[str]], k1: float = 1.2, b: float = 0.75
) -> list[float]:
    """The score of each passage, of which the words are counted.

    Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009;
    with the idf that is never negative.
    """
    mean = sum(map(Counter.total, passages)) / max(len(passages), 1)
    having = Counter(word for counts in passages for word in counts)
    scores = []
    for counts in passages:
        room = k1 * (1 - b + b * counts.total() / mean) if mean else k1
        score = 0.0
        for word in sorted(asked & counts.keys()):  # in one order, so that equals are equal
            rarity = math.log1p((len(passages) - having[word] + 0.5) / (having[word] + 0.5))
            score += rarity * counts[word] * (k1 + 1) / (counts[word] + room)
        scores.append(score)
    return scores

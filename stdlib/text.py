"""Cutting and joining text (`std.text`).

Nothing is lost by cutting: the pieces of `chunk` and `sentences`, in order, hold every character
of the text but the white space between them.
"""

import re
import textwrap
from collections.abc import Callable, Iterator

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
# A sentence ends in . ! ? or …, perhaps quoted or bracketed, before white space and a new start.
_SENTENCE = re.compile(r"""(?<=[.!?…])(?:["'”’)\]]*)(?=\s+["'“‘(\[]*[A-Z0-9À-Þ])""")
# Words that end in a full stop within a sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Gov|Sen|Rep|Hon|vs|No|Nos|Vol|cf|e\.g|i\.e|etc)|\b[A-Z])\.$"
)


def chunk(doc: str, size: int = 1200) -> list[str]:
    """Parts of at most `size` characters, cut at the coarsest boundary that fits.

    Neighbouring paragraphs are kept together while they fit. A paragraph that is too long is cut
    between sentences, a sentence between words, and a word only if it alone is too long. Parts
    have no white space at their ends; an empty text has no parts.
    Raises `ValueError` for a `size` below 1.
    """
    if size < 1:
        raise ValueError(f"a chunk has at least 1 character, not {size}")
    return _packed(_units(doc, size, _paragraph_spans, _sentence_spans, _word_spans), doc, size)


def paragraphs(doc: str) -> list[str]:
    """The parts between blank lines, without white space at their ends."""
    return [doc[start:end] for start, end in _paragraph_spans(doc)]


def sentences(doc: str) -> list[str]:
    """Sentences in order. A rule of thumb: full stops after initials and titles do not count."""
    found = []
    for start, end in _paragraph_spans(doc):
        found += [doc[start + a : start + b] for a, b in _sentence_spans(doc[start:end])]
    return found


def windows(doc: str, size: int = 1200, overlap: int = 200) -> list[str]:
    """Parts of at most `size` characters; each begins in the last `overlap` of the one before.

    For questions whose answer may lie across a cut. Words are kept whole where one fits; every
    word is in some part. Raises `ValueError` unless `0 <= overlap < size`.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap is from 0 to less than the size {size}, not {overlap}")
    units = list(_units(doc, size, _word_spans))
    parts: list[str] = []
    first = after = 0
    while after < len(units):
        start = units[first][0]
        while after < len(units) and units[after][1] - start <= size:
            after += 1
        end = units[after - 1][1]
        parts.append(doc[start:end])
        if after < len(units):
            # the first word of the overlap from which the next window reaches a new word
            least = max(end - overlap, units[after][1] - size)
            first = next(at for at in range(first + 1, after + 1) if units[at][0] >= least)
    return parts


def words(text: str) -> list[str]:
    """The runs of characters between white space."""
    return text.split()


def dedent(text: str) -> str:
    """The text without the indentation that all its lines share."""
    return textwrap.dedent(text)


def shorten(text: str, size: int, mark: str = "…") -> str:
    """At most `size` characters: the whole text, or its first words and `mark`.

    Raises `ValueError` if not even the mark fits.
    """
    if len(text) <= size:
        return text
    room = size - len(mark)
    if room < 0:
        raise ValueError(f"{size} characters have no room for the mark {mark!r}")
    return text[: _word_end(text, 0, room)].rstrip() + mark


# --- spans: half-open ranges of a text, in order, with only white space between them ---

Span = tuple[int, int]
Cutter = Callable[[str], Iterator[Span]]


def _paragraph_spans(text: str) -> Iterator[Span]:
    return _trimmed(text, [(m.start(), m.end()) for m in _PARAGRAPH.finditer(text)])


def _sentence_spans(text: str) -> Iterator[Span]:
    ends = [m.end() for m in _SENTENCE.finditer(text)]
    kept = [end for end in ends if not _ABBREVIATION.search(text[max(0, end - 12) : end])]
    return _trimmed(text, [(end, end) for end in kept])


def _word_spans(text: str) -> Iterator[Span]:
    return ((m.start(), m.end()) for m in re.finditer(r"\S+", text))


def _trimmed(text: str, gaps: list[Span]) -> Iterator[Span]:
    """What lies between the gaps, without white space at the ends; empty parts are left out."""
    start = 0
    for gap_start, gap_end in [*gaps, (len(text), len(text))]:
        part = text[start:gap_start]
        left = len(part) - len(part.lstrip())
        if part.strip():
            yield start + left, start + len(part.rstrip())
        start = gap_end


def _units(text: str, size: int, *cutters: Cutter) -> Iterator[Span]:
    """Spans of at most `size`, each as coarse as the cutters allow."""
    if not cutters:
        yield from ((at, min(at + size, len(text))) for at in range(0, len(text), size))
        return
    first, *finer = cutters
    for start, end in first(text):
        if end - start <= size:
            yield start, end
        else:
            inner = _units(text[start:end], size, *finer)
            yield from ((start + a, start + b) for a, b in inner)


def _packed(units: Iterator[Span], text: str, size: int) -> list[str]:
    """Neighbouring units joined, with the white space between them, while they fit."""
    parts: list[str] = []
    start = end = -1
    for unit_start, unit_end in units:
        if start >= 0 and unit_end - start <= size:
            end = unit_end
            continue
        if start >= 0:
            parts.append(text[start:end])
        start, end = unit_start, unit_end
    return [*parts, text[start:end]] if start >= 0 else parts


def _word_end(text: str, start: int, size: int) -> int:
    """The end of the last word that ends within `size` of `start`, or of what fits of one."""
    limit = start + size
    if limit >= len(text) or text[limit].isspace():
        return min(limit, len(text))
    space = max(text.rfind(" ", start + 1, limit), text.rfind("\n", start + 1, limit))
    return space if space > start else limit

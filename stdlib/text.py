"""Cutting and joining text (`std.text`).

Nothing is lost by cutting: the pieces, in order, hold every character of the text but the white
space between them.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

Count = Callable[[str], int]  # of the tokens of a text

_RUN = re.compile(r"[^\W\d_]+|\S")  # a word, or one digit or mark
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
    return _chunks(doc, lambda part: len(part) <= size)


def chunk_tokens(
    doc: str, size: int = 300, model: str = "", *, counts: Mapping[str, Count] | None = None
) -> list[str]:
    """The same, of at most `size` tokens. A single character is never cut, whatever it counts.

    A running program counts with the tokenizer of its model called `model`, which may be left out
    if there is one. Where none is at hand (a plan that is only estimated, plain Python), tokens
    are those of `estimated_tokens`. `counts` are the tokenizers by the names of their models.
    Raises `ValueError` for a `size` below 1, and for a model that the program does not have.
    """
    if size < 1:
        raise ValueError(f"a chunk has at least 1 token, not {size}")
    count = _count_of(model, counts)
    return _chunks(doc, lambda part: count(part) <= size)


def chunk_sentences(doc: str, count: int = 8) -> list[str]:
    """Parts of `count` sentences, the last perhaps of fewer. Raises `ValueError` below 1."""
    return _groups(doc, _all_sentences(doc), count)


def chunk_paragraphs(doc: str, count: int = 3) -> list[str]:
    """Parts of `count` paragraphs, the last perhaps of fewer. Raises `ValueError` below 1."""
    return _groups(doc, _paragraph_spans(doc), count)


def tokens(text: str, model: str = "", *, counts: Mapping[str, Count] | None = None) -> int:
    """How many tokens a text has, counted as by `chunk_tokens`."""
    return _count_of(model, counts)(text)


def estimated_tokens(text: str) -> int:
    """About as many tokens as a model's tokenizer makes of English text, rather too many.

    A word counts one token for each six bytes it begins, every digit and mark one.
    """
    return sum(-(-len(run.encode("utf-8", "replace")) // 6) for run in _RUN.findall(text))


def paragraphs(doc: str) -> list[str]:
    """The parts between blank lines, without white space at their ends."""
    return [doc[start:end] for start, end in _paragraph_spans(doc)]


def sentences(doc: str) -> list[str]:
    """Sentences in order. A rule of thumb: full stops after initials and titles do not count."""
    return [doc[start:end] for start, end in _all_sentences(doc)]


def windows(doc: str, size: int = 1200, overlap: int = 200) -> list[str]:
    """Parts of at most `size` characters; each begins in the last `overlap` of the one before.

    For questions whose answer may lie across a cut. Words are kept whole where one fits; every
    word is in some part. Raises `ValueError` unless `0 <= overlap < size`.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap is from 0 to less than the size {size}, not {overlap}")
    units = list(_units(doc, lambda part: len(part) <= size, _word_spans))
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


def join(parts: Sequence[str], separator: str = "\n\n") -> str:
    """The parts as one text, with `separator` between each two."""
    return separator.join(parts)


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


def _count_of(model: str, counts: Mapping[str, Count] | None) -> Count:
    """What counts the tokens of a model. Raises `ValueError` if it is not clear which is meant."""
    if not counts:
        return estimated_tokens
    if model in counts:
        return counts[model]
    named = ", ".join(sorted(counts))
    if model:
        raise ValueError(f"the program has no model called {model!r}; it has {named}")
    if len(counts) > 1:
        raise ValueError(f"whose tokens? The program has several models: {named}")
    return next(iter(counts.values()))


# --- spans: half-open ranges of a text, in order, with only white space between them ---

Span = tuple[int, int]
Cutter = Callable[[str], Iterator[Span]]
Fits = Callable[[str], bool]  # whether a text is small enough for a part


def _chunks(doc: str, fits: Fits) -> list[str]:
    return _packed(_units(doc, fits, _paragraph_spans, _sentence_spans, _word_spans), doc, fits)


def _all_sentences(doc: str) -> Iterator[Span]:
    for start, end in _paragraph_spans(doc):
        yield from ((start + a, start + b) for a, b in _sentence_spans(doc[start:end]))


def _groups(doc: str, units: Iterator[Span], count: int) -> list[str]:
    """Parts of `count` neighbouring units, with the white space between these."""
    if count < 1:
        raise ValueError(f"a chunk has at least 1 unit, not {count}")
    spans = list(units)
    ends = [min(at + count, len(spans)) - 1 for at in range(0, len(spans), count)]
    return [doc[spans[at * count][0] : spans[end][1]] for at, end in enumerate(ends)]


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


def _units(text: str, fits: Fits, *cutters: Cutter) -> Iterator[Span]:
    """Spans that fit, each as coarse as the cutters allow."""
    if not cutters:
        start = 0
        while start < len(text):
            end = _longest(text, start, fits)
            yield start, end
            start = end
        return
    first, *finer = cutters
    for start, end in first(text):
        if fits(text[start:end]):
            yield start, end
        else:
            inner = _units(text[start:end], fits, *finer)
            yield from ((start + a, start + b) for a, b in inner)


def _longest(text: str, start: int, fits: Fits) -> int:
    """Where a part from `start` must end to fit: far on by bisection, after one character at least.

    Fewer characters may be more tokens, so this need not be the very last place that fits.
    """
    end, over = start + 1, len(text) + 1
    while end + 1 < over:
        middle = (end + over) // 2
        if fits(text[start:middle]):
            end = middle
        else:
            over = middle
    return end


def _packed(units: Iterator[Span], text: str, fits: Fits) -> list[str]:
    """Neighbouring units joined, with the white space between them, while they fit."""
    parts: list[str] = []
    start = end = -1
    for unit_start, unit_end in units:
        if start >= 0 and fits(text[start:unit_end]):
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

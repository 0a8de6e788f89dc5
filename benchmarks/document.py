"""Shows in README.md and docs/ what was measured: numbers stand there between markers.

    python benchmarks/document.py               # after a script has written benchmarks/results

    <!-- measured: serving -->
    | engines | … |                             in lines of its own
    <!-- /measured -->

    … were <!-- measured: sharing equality -->equal<!-- /measured -->, …

Between them is what `document_parts` and `figure_parts` make of the stored results, so that no
number in a document is older than its measurement, and none was typed. A test compares them.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from document_parts.compiling import compiling
from document_parts.engines import peers, pipelining, sharing
from document_parts.serving import scheduling, serving
from document_parts.soaking import soaking
from figure_parts.record import Record
from figure_parts.tables import blocks

ROOT = Path(__file__).parents[1]
_MARKED = re.compile(r"(<!-- measured: ([^>]+) -->)(.*?)(<!-- /measured -->)", re.DOTALL)


def shown() -> dict[str, str]:
    """The text that belongs between the markers of each name, from the stored results."""
    return {
        **peers(),
        **sharing(),
        **pipelining(),
        **compiling(),
        **scheduling(),
        **serving(),
        **soaking(),
        **blocks(Record.load()),
    }


def documents() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def names(text: str) -> list[str]:
    """Of all that is marked in a document."""
    return [found[2] for found in _MARKED.finditer(text)]


def updated(text: str, values: Mapping[str, str]) -> str:
    """The document with `values` between its markers. Raises `KeyError` for an unknown name."""

    def put(found: re.Match[str]) -> str:
        begin, name, held, end = found.groups()
        around = "\n" if held.startswith("\n") else ""  # in lines of its own, or in one
        return f"{begin}{around}{values[name]}{around}{end}"

    return _MARKED.sub(put, text)


def show() -> None:
    """Write every document that the results have changed."""
    values = shown()
    for path in documents():
        text = path.read_text("utf-8")
        new = updated(text, values)
        if new != text:
            path.write_text(new, "utf-8")
            print(f"{path.relative_to(ROOT)} is brought up to date", file=sys.stderr)


if __name__ == "__main__":
    show()

"""Code in answers (`std.code`): fenced blocks as CommonMark has them, and files.

    notes/app.py                      ==>   File(path="notes/app.py", text="print(1)\\n")
    ```python
    print(1)
    ```

A path stands on the line before the block, after the opening fence, or in a comment that is the
block's first line. Only paths that stay inside a folder count: an answer cannot name any other.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parrotc.python.decorators import native
from parrotc.python.standard import standard

_OPEN = re.compile(r"([ \t]*)(`{3,}(?=[^`]*$)|~{3,})[ \t]*(\S*)[ \t]*(.*?)\s*")
_PATH = re.compile(r"(?:\./)?((?:[\w@+-][\w.@+-]*/|\.[\w@+-][\w.@+-]*/)*\.?[\w@+-][\w.@+-]*)")
_NO_ENDING = {"Makefile", "Dockerfile", "LICENSE", "README"}
_NAMED = re.compile(
    r"""(?:path|title|file|filename|name)\s*[=:]\s*["']?([^\s"']+)""", re.IGNORECASE
)
_AROUND = re.compile(  # a heading, a bullet, a number, emphasis, `File:` …
    r"^(?:[\s#*>`]|\d+[.)]\s|[-+]\s)*(?:(?:file|path|filename)\s*:)?[\s*`]*|[\s*`:]*$",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*(?:#|//|--|;|<!--|/\*|%)\s*(\S+)\s*(?:-->|\*/)?\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. Every line of its text ends in a newline."""

    language: str
    info: str
    text: str


@dataclass(frozen=True)
class File:
    path: str
    text: str


@dataclass(frozen=True)
class Review:
    approved: bool
    comments: list[str]


def blocks(answer: str) -> list[Block]:
    """The fenced blocks of an answer, in order. One that is never closed ends with the answer.

    A block is indented as its opening fence is: so much is taken off its lines.
    """
    return [block for block, _ in _blocks(answer)]


def code(answer: str) -> str:
    """The code of an answer: its first fenced block, or all of it if it has none."""
    found = blocks(answer)
    return found[0].text if found else answer


def files(answer: str) -> list[File]:
    """The files of an answer: the blocks that say a path, the last one of each path."""
    found: dict[str, str] = {}
    for block, before in _blocks(answer):
        path = _path_of(block, before)
        if path:
            found[path] = block.text
    return [File(path, text) for path, text in found.items()]


@native
def fenced(files: list[File]) -> str:
    """Files as an answer that `files` reads again, each text with a newline at its end."""
    return "\n".join(map(_fenced, files))


@standard
def program(task: str, old: str = "", comments: Sequence[str] = ()) -> str:
    """A program of several files, one fenced block each. `old` are files to change."""


@standard
def review(task: str, files: list[File]) -> Review:
    """What must change in the files before they do their task."""


@standard
def write(task: str, rounds: int = 2) -> list[File]:
    """The files of a program, reviewed and written again at most `rounds` times.

    A file that is not written again stays as it is.
    """


def _blocks(answer: str) -> Iterator[tuple[Block, str]]:
    """Each block with the last line before it that is not blank."""
    lines = iter(answer.split("\n"))
    before = ""
    for line in lines:
        opening = _OPEN.fullmatch(line)
        if opening is None:
            before = line.strip() or before
            continue
        indent, fence, language, info = opening.groups()
        text = [_outdented(inner, indent) for inner in _until_closed(lines, fence)]
        yield Block(language, info, "".join(f"{inner}\n" for inner in text)), before
        before = ""


def _until_closed(lines: Iterator[str], fence: str) -> Iterator[str]:
    for line in lines:
        bare = line.strip()
        if len(bare) >= len(fence) and set(bare) == {fence[0]}:
            return
        yield line


def _outdented(line: str, indent: str) -> str:
    return line.removeprefix(indent) if line.startswith(indent) else line.lstrip(" \t")


def _path_of(block: Block, before: str) -> str:
    """The path that a block says it has; empty if it says none, or none that is safe."""
    named = _NAMED.search(f"{block.language} {block.info}")
    comment = _COMMENT.match(block.text.partition("\n")[0])
    said = [
        named[1] if named else "",
        block.info,
        block.language.rpartition(":")[2],
        _AROUND.sub("", before),
        comment[1] if comment else "",
    ]
    return next((path for path in map(_safe_path, said) if path), "")


def _safe_path(text: str) -> str:
    """A relative path of plain names, with an ending or a name that needs none."""
    found = _PATH.fullmatch(text)
    if found is None:
        return ""
    name = found[1].rpartition("/")[2]
    return found[1] if "." in name.strip(".") or name[0] == "." or name in _NO_ENDING else ""


def _fenced(file: File) -> str:
    runs = re.findall(r"`{3,}", file.text)
    fence = "`" * max([3, *(len(run) + 1 for run in runs)])
    end = "" if file.text.endswith("\n") or not file.text else "\n"
    return f"{file.path}\n{fence}\n{file.text}{end}{fence}\n"

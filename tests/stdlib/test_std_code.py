"""`std.code`: what is fenced is read back, character for character, and no path leads out."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.code import Block, File, blocks, code, fenced, files

LINES = st.sampled_from(
    ["", "x = 1", "  y", "```", "````python", "~~~", "`", "app.py", "# b/c.py", "\ttab", "\r", "日"]
)
TEXTS = st.lists(LINES, max_size=6).map(lambda lines: "".join(f"{line}\n" for line in lines))
PATHS = st.sampled_from(
    ["app.py", "__init__.py", "src/a_b.py", "x/y-z/é.txt", "Makefile", ".gitignore", "a.b.c"]
)


@given(written=st.dictionaries(PATHS, TEXTS | st.text(max_size=20), max_size=4))
def test_files_are_read_back(written: dict[str, str]) -> None:
    """A text is ended by a newline; nothing else changes, whatever fences it holds."""
    given = [File(path, text) for path, text in written.items()]
    ended = {
        path: text if text.endswith("\n") or not text else f"{text}\n"
        for path, text in written.items()
    }
    again = files(fenced(given))
    assert {file.path: file.text for file in again} == ended
    assert [file.path for file in again] == list(written)


@given(answer=st.lists(LINES | st.text(max_size=12), max_size=12).map("\n".join))
def test_any_answer_can_be_read(answer: str) -> None:
    found = blocks(answer)
    assert all(block.text == "" or block.text.endswith("\n") for block in found)
    assert code(answer) == (found[0].text if found else answer)
    for file in files(answer):
        path = PurePosixPath(file.path)
        assert not path.is_absolute() and ".." not in path.parts
        assert file.text in {block.text for block in found}


def test_blocks_of_an_answer() -> None:
    answer = "Sure:\n```python title=a.py\nx\n\n```\nand\n~~~\n```\n~~~\n"
    assert blocks(answer) == [Block("python", "title=a.py", "x\n\n"), Block("", "", "```\n")]
    assert blocks("```\nnever closed") == [Block("", "", "never closed\n")]
    assert blocks("1. a list\n   ```\n   x\n     y\n   ```") == [Block("", "", "x\n  y\n")]
    assert blocks("an `inline` ```one```") == []
    assert blocks("````\n```\n````") == [Block("", "", "```\n")]


@pytest.mark.parametrize(
    "answer",
    [
        "app/main.py\n```\n1\n```",
        "### `app/main.py`\n\n```python\n1\n```",
        "**File: app/main.py**\n```python\n1\n```",
        "1. app/main.py:\n```python\n1\n```",
        "- *app/main.py*\n```python\n1\n```",
        "```python app/main.py\n1\n```",
        "```python:app/main.py\n1\n```",
        '```python title="app/main.py"\n1\n```',
        "```./app/main.py\n1\n```",
    ],
)
def test_ways_to_say_a_path(answer: str) -> None:
    assert files(answer) == [File("app/main.py", "1\n")]


def test_a_comment_names_a_file_and_stays() -> None:
    assert files("```js\n// app/main.js\n1\n```") == [File("app/main.js", "// app/main.js\n1\n")]


def test_the_last_text_of_a_file_counts() -> None:
    answer = "a.py\n```\n1\n```\nb.py\n```\n2\n```\na.py\n```\n3\n```"
    assert files(answer) == [File("a.py", "3\n"), File("b.py", "2\n")]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd.txt", "../a.py", "a/../../b.py", "C:\\a.py", "a\\b.py", "~/a.py", "a/..", "."],
)
def test_paths_that_lead_out_name_no_file(path: str) -> None:
    assert files(f"{path}\n```\n1\n```") == []


def test_a_path_is_that_of_one_block() -> None:
    assert files("a.py\n```\n1\n```\n```\n2\n```") == [File("a.py", "1\n")]


@pytest.mark.parametrize(
    "answer", ["```python\n1\n```", "Here you are:\n```\n1\n```", "no code", ""]
)
def test_a_block_without_a_path_is_no_file(answer: str) -> None:
    assert files(answer) == []

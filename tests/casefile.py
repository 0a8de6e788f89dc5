"""Text case files: what goes in and what must come out, side by side, for people to read.

A file `tests/cases/<folder>/<topic>.txt` holds any number of cases:

    === a title that says what is shown
    --- pfn
    the input, exactly as written
    --- errors
    the output that is expected, exactly as printed

A line that starts with `=== ` begins a case, one that starts with `--- ` begins a section; text
before the first case is a comment. Blank lines at the end of a section only separate. A runner is

    @pytest.mark.parametrize("case", load("syntax"), ids=str)
    def test_case(case: Case, update: bool) -> None:
        compare(case, {"errors": render(case["pfn"])}, update)

and `pytest --update` (see conftest.py) rewrites the outputs in place; read the diff first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """One case: `case["pfn"]` is the text of a section, ending in one newline unless empty."""

    path: Path
    title: str
    sections: Mapping[str, str]

    def __getitem__(self, section: str) -> str:
        return self.sections[section]

    def __contains__(self, section: str) -> bool:
        return section in self.sections

    def __str__(self) -> str:
        return f"{self.path.stem}: {self.title}"


def load(folder: str) -> list[Case]:
    """Every case of `tests/cases/<folder>/*.txt`, in the order of file names and of the text."""
    return [case for path in sorted((CASES / folder).glob("*.txt")) for case in read(path)]


def read(path: Path) -> list[Case]:
    """The cases of one file. Raises `ValueError` for a title or a section that occurs twice."""
    cases = [_case(path, block) for block in _split(path.read_text("utf-8"), "=== ")[1:]]
    titles = [case.title for case in cases]
    for title in titles:
        if titles.count(title) > 1:
            raise ValueError(f"{path.name}: two cases are called `{title}`")
    return cases


def compare(
    case: Case, outputs: Mapping[str, str], update: bool, inputs: Collection[str] = ()
) -> None:
    """Assert that each output equals the section of its name; an absent section means empty.

    A section that is neither an output nor one of `inputs` (by default the first section) is a
    mistake in the file. With `update` the sections are rewritten instead: empty outputs are
    removed, new ones are added at the end of the case.
    """
    given = set(inputs) or {next(iter(case.sections))}
    stray = set(case.sections) - set(outputs) - given
    assert not stray, f"{case}: nothing fills the section {', '.join(sorted(stray))}"
    actual = {name: _text(text.split("\n")) for name, text in outputs.items()}
    if update:
        _rewrite(case, actual)
        return
    for name, text in actual.items():
        assert text == case.sections.get(name, ""), f"{case}: section `{name}` (--update accepts)"


def _split(text: str, mark: str) -> list[list[str]]:
    """The lines before the first mark, then one list of lines for each mark, mark line first."""
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.startswith(mark):
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def _case(path: Path, block: list[str]) -> Case:
    title = block[0].removeprefix("=== ").strip()
    sections: dict[str, str] = {}
    for section in _split("\n".join(block[1:]), "--- ")[1:]:
        name = section[0].removeprefix("--- ").strip()
        if name in sections:
            raise ValueError(f"{path.name}: `{title}` has two sections called `{name}`")
        sections[name] = _text(section[1:])
    return Case(path, title, sections)


def _text(lines: list[str]) -> str:
    """Lines as a text that ends in one newline, without blank lines at its end."""
    text = "\n".join(lines).rstrip("\n")
    return text + "\n" if text else ""


def _rewrite(case: Case, outputs: Mapping[str, str]) -> None:
    """Put `outputs` into the case's place in its file, read afresh as other cases change it too."""
    merged = {**case.sections, **outputs}
    lines = [f"=== {case.title}\n"]
    lines += [f"--- {name}\n{text}" for name, text in merged.items() if text or name not in outputs]
    head, *blocks = _split(case.path.read_text("utf-8"), "=== ")
    parts = [_text(head)] if any(head) else []
    for block in blocks:
        mine = block[0].removeprefix("=== ").strip() == case.title
        parts.append("".join(lines) if mine else _text(block))
    case.path.write_text("\n".join(parts), "utf-8")

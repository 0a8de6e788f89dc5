"""Numbers in documents are those that scripts have measured, in tables, in sentences, in plots."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "figures"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield


@pytest.fixture(scope="module")
def document(_benchmarks: None) -> Any:
    return import_module("document")


@pytest.fixture(scope="module")
def values(document: Any) -> dict[str, str]:
    shown: dict[str, str] = document.shown()
    return shown


@pytest.fixture(scope="module")
def plots(_benchmarks: None) -> Any:
    """Drawn by the version of matplotlib that drew those of the documents."""
    pinned = re.search(r"^matplotlib==(.*)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned is not None
    try:
        found = version("matplotlib")
    except PackageNotFoundError:
        found = "none"
    if found != pinned[1]:
        pytest.skip(f"needs matplotlib {pinned[1]}, and there is {found}")
    return import_module("figure_parts.plots")


@pytest.fixture(scope="module")
def record(_benchmarks: None) -> Any:
    return import_module("figure_parts.record").Record


# --- documents ---


def test_documents_show_what_was_measured(document: Any, values: dict[str, str]) -> None:
    """Where this fails, `python benchmarks/document.py` puts it right."""
    for path in document.documents():
        text = path.read_text("utf-8")
        assert document.updated(text, values) == text, f"{path.name} shows other numbers"


def test_all_that_was_measured_is_shown_once(document: Any, values: dict[str, str]) -> None:
    texts = [path.read_text("utf-8") for path in document.documents()]
    assert sorted(name for text in texts for name in document.names(text)) == sorted(values)


def test_no_marker_is_broken(document: Any) -> None:
    for path in document.documents():
        text = path.read_text("utf-8")
        count = len(document.names(text))
        assert text.count("<!-- measured") == text.count("<!-- /measured") == count


def test_what_is_between_markers_is_put_there(document: Any) -> None:
    text = (
        "A <!-- measured: a -->1<!-- /measured -->.\n<!-- measured: b -->\n1\n<!-- /measured -->\n"
    )
    put = document.updated(text, {"a": "2", "b": "| 3 |\n| 4 |"})
    assert put == (
        "A <!-- measured: a -->2<!-- /measured -->.\n"
        "<!-- measured: b -->\n| 3 |\n| 4 |\n<!-- /measured -->\n"
    )
    assert document.updated(put, {"a": "2", "b": "| 3 |\n| 4 |"}) == put
    assert document.names(text) == ["a", "b"]


def test_an_empty_block_is_filled_and_an_unknown_one_refused(document: Any) -> None:
    text = "<!-- measured: b -->\n<!-- /measured -->"
    assert document.updated(text, {"b": "x"}) == "<!-- measured: b -->\nx\n<!-- /measured -->"
    with pytest.raises(KeyError, match="b"):
        document.updated(text, {"a": "x"})


@pytest.mark.parametrize(
    ("part", "block", "at"),
    [
        ("engines", "peers", ("rates", "ours int8", "prefill of 2,000")),
        ("engines", "sharing", ("measures", 4, "filled")),
        ("engines", "pipelining", ("measures", 0, "first")),
        ("compiling", "compile", ("measures", 0, "seconds")),
        ("serving", "scheduling", ("measures", 1, "tasks_per_second")),
        ("serving", "serve", ("http", "measures", 0, "calls_per_second")),
    ],
)
def test_a_table_is_made_of_its_file(
    part: str, block: str, at: tuple[str | int, ...], monkeypatch: pytest.MonkeyPatch, document: Any
) -> None:
    """Another number in the file is another table."""
    module = import_module(f"document_parts.{part}")
    make = getattr(module, {"serve": "serving", "compile": "compiling"}.get(block, block))
    before = make()
    changed = json.loads((ROOT / "benchmarks" / "results" / f"{block}.json").read_text("utf-8"))
    held = changed
    for key in at[:-1]:
        held = held[key]
    held[at[-1]] *= 3
    monkeypatch.setattr(module, "stored", lambda name: changed)
    after = make()
    assert after.keys() == before.keys() and after != before


# --- plots ---


def test_plots_are_those_of_the_stored_results(plots: Any, record: Any) -> None:
    """Where this fails, `python benchmarks/figures.py --plots` puts it right."""
    drawn = plots.plots(record.load())
    assert {path.name for path in PICTURES.iterdir()} == set(drawn)
    for name, text in drawn.items():
        assert (PICTURES / name).read_text("utf-8") == text, f"{name} shows other numbers"


def test_every_plot_is_on_the_page() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    shown = re.findall(r"!\[[^]]+\]\(figures/([^)]+)\)", page)
    assert sorted(shown) == sorted(path.name for path in PICTURES.iterdir())


def test_a_plot_shows_its_numbers_and_nothing_of_the_day(plots: Any, record: Any) -> None:
    stored = record.load()
    before = plots.plots(stored)
    changed = deepcopy(stored)
    number = next(n for n, one in enumerate(changed.measures) if one.figure == "17")
    times = changed.measures[number].times[0]
    object.__setattr__(times, "mean", times.mean * 0.8)
    after = plots.plots(changed)
    assert {name for name in before if before[name] != after[name]} == {"figure-17.svg"}
    assert all("<dc:date>" not in text and "Matplotlib" not in text for text in before.values())


def test_every_system_has_a_colour_and_its_name_stands_in_the_plot(plots: Any, record: Any) -> None:
    stored = record.load()
    drawn = plots.plots(stored)
    for measure in stored.measures:
        colour, text = plots.COLOURS[measure.system], drawn[plots.file_name(measure.figure)]
        name = measure.system.replace("'", "(?:'|&apos;)")
        assert re.search(f"fill: {colour}[^>]*>{name}<", text)


def test_names_that_would_overlap_move_apart_and_others_stay(plots: Any) -> None:
    gap = plots.GAP
    assert plots._apart([0.0, 5 * gap]) == [0.0, 5 * gap]
    assert plots._apart([3 * gap, 3 * gap]) == [2.5 * gap, 3.5 * gap]
    placed = plots._apart([0.0, 0.1, 0.9 * gap, 2 * gap, 9 * gap])
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(placed))
    assert placed[-1] == 9 * gap

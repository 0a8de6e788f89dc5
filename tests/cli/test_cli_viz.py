"""Pictures of flows: what they must show, and that each form is well made."""

import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from commands import parrotc

from parrotc.passes.table import PIPELINES, run
from parrotc.targets import targets
from parrotc.viz.graph import Picture, picture

PROGRAM = """
const RULES = "You are careful, you add nothing, and you write plain prose for busy readers."

pfunc digest(part: str) -> str:
    system "{{RULES}}"
    user "Summarise: {{part}}"
    assistant "{{gen max_tokens=60}}"

pfunc merge(notes: list[str], count: int) -> str:
    system "{{RULES}}"
    user "Merge: {{notes | join("; ")}} Of {{count}}."
    assistant "{{gen max_tokens=90}}"

flow main(parts: list[str], unused: int = 3) -> str:
    notes = [digest(part) for part in parts]
    return merge(notes, len(parts))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "app.pfn"
    path.write_text(PROGRAM)
    return path


def drawn(program: Path, level: str) -> Picture:
    from parrotc.cli.arguments import Choices
    from parrotc.cli.loading import lowered
    from parrotc.settings import Settings

    written = lowered(str(program), Choices(None, None, {}), Settings(engine="reference"))
    target = targets(written)
    module = run(written, target, PIPELINES[level])
    return picture(level, written, module, module.flows[0], target)


def test_calls_inputs_and_the_result_are_joined(program: Path) -> None:
    """Once: that `merge` also reads `parts` is clear, as it waits for `digest`."""
    found = drawn(program, "O0")
    titles = {node.name: node.title for node in found.nodes}
    edges = {(titles[e.start], titles[e.end]) for e in found.edges}
    assert edges == {("parts", "digest"), ("digest", "merge"), ("merge", "result")}
    assert [box.title for box in found.boxes] == ["for each of parts, at once"]


def test_the_critical_path_goes_through_both_calls(program: Path) -> None:
    found = drawn(program, "O1")
    critical = [node.title for node in found.nodes if node.critical and node.kind == "call"]
    assert critical == ["digest", "merge"]


def test_shared_prompts_are_drawn_only_where_they_are_shared(program: Path) -> None:
    before, after = drawn(program, "O0"), drawn(program, "O1")
    assert not [node for node in before.nodes if node.kind == "shared"]
    shared = [node for node in after.nodes if node.kind == "shared"]
    assert any("You are careful" in node.detail for node in shared)
    served = {edge.end for edge in after.edges if edge.shared}
    assert {node.name for node in after.nodes if node.kind == "call"} <= served


@pytest.mark.parametrize("given", [[], ["-O0"], ["-O1"]])
def test_svg_is_xml_with_every_call(program: Path, tmp_path: Path, given: list[str]) -> None:
    out = tmp_path / "app.svg"
    done = parrotc("viz", str(program), "--engine", "reference", "-o", str(out), *given)
    assert done.code == 0, done.err
    root = xml.fromstring(out.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("digest") == texts.count("merge") == (1 if given else 2)
    assert "critical path" in {(text or "").strip() for text in texts}


def test_dot_and_mermaid(program: Path) -> None:
    dot = parrotc("viz", str(program), "--engine", "reference", "--format", "dot").out
    assert dot.startswith("digraph") and dot.count("{") == dot.count("}")
    chart = parrotc("viz", str(program), "--engine", "reference", "--format", "mermaid").out
    assert chart.startswith("flowchart")
    named = set(re.findall(r"^ +(p\d+n\d+)[\[(]", chart, re.M))
    used = set(re.findall(r"(p\d+n\d+) [-=.]+> (p\d+n\d+)", chart))
    assert used and {name for pair in used for name in pair} <= named


def test_without_graphviz_the_way_out_is_named(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("parrotc.viz.svg.find_spec", lambda _: None)
    done = parrotc("viz", str(program), "--engine", "reference")
    assert done.code == 2 and "parrotc[viz]" in done.err and "mermaid" in done.err

"""What a notebook shows: of variables, flows and programs, without waiting for anything."""

import importlib
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from types import ModuleType

import pytest

import parrotc
from parrotc import Chat, Graph, RunError
from parrotc.eager.service import Service
from parrotc.settings import Settings

PROGRAM = """
from parrotc import assistant, flow, native, pfunc, user


@pfunc
def note(text: str, mood: str = "good") -> str:
    user("Note <{{text}}>")
    assistant("{{gen max_tokens=8}}")


@native
def broken(text: str) -> str:
    raise KeyError("<b>")


@flow
def twice(text: str) -> str:
    return note(note(text))
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "notebook_app.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("notebook_app")
    del sys.modules["notebook_app"]


@pytest.fixture
def graph() -> Iterator[Graph]:
    service = Service(Settings(engine="reference"), {})
    with Graph(service=service) as graph:
        yield graph
    service.close()


def test_a_variable(app: ModuleType, graph: Graph) -> None:
    first = app.note("<script>alert('x')</script>")
    second = app.note(first)
    for var in (first, second):
        bundle = var._repr_mimebundle_()
        assert bundle["text/plain"] == repr(var) and bundle["text/html"] == var._repr_html_()
    assert graph.segments == 0 and first.state == second.state == "waiting", "nothing has run"
    assert "<script>" not in first._repr_html_() and "&lt;script&gt;" in first._repr_html_()
    assert "Note &lt;‹text›&gt;" in second._repr_html_(), "what is not there yet has its name"
    value = second.get()
    html = second._repr_html_()
    assert "ready" in html and value[:3].replace("<", "&lt;") in html and "Note &lt;" in html
    failed = app.broken(first)
    with pytest.raises(RunError):
        failed.get()
    assert "KeyError" in failed._repr_html_() and "<b>'" not in failed._repr_html_()


def test_a_variable_of_a_flow_shows_its_graph(app: ModuleType, graph: Graph) -> None:
    both = app.twice.start("x")
    native = app.broken(both)
    html = both._repr_html_()
    assert ("<svg" in html or "flowchart" in html) and both.state == "waiting"
    assert "<svg" not in native._repr_html_() and "flowchart" not in native._repr_html_()


def test_a_prompt_with_its_values(app: ModuleType, graph: Graph) -> None:
    """Values as they are, defaults too; what is open, by its name; of a function, nothing else."""
    assert "Note &lt;A &amp; B&gt;" in app.note("A & B")._repr_html_()
    assert "Note &lt;‹text›&gt;" in app.note._repr_html_()


def test_a_chat(graph: Graph) -> None:
    with Chat("Be <brief>.", service=graph.service) as chat:
        empty = chat._repr_html_()
        assert "Be &lt;brief&gt;." in empty and "assistant" not in empty
        said = chat.say("Hello & bye", max_tokens=6)
        html = chat._repr_html_()
        assert "2 user" in html and "Hello &amp; bye" in html and "3 assistant" in html
        assert escape(said) in html and f"{chat.tokens} tokens" in html
        assert chat._repr_mimebundle_() == {"text/plain": repr(chat), "text/html": html}


def test_a_long_value_is_cut(app: ModuleType, graph: Graph) -> None:
    long = parrotc.variable(content="word " * 10_000)
    assert len(long._repr_html_()) < 3000


def test_a_flow_and_a_program(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    handle = app.twice.compile()
    for held in (handle, app.twice, app.note):
        html = held._repr_html_()
        assert "<svg" in html or "flowchart" in html
        assert "Note" in re.sub(r"&#\d+;|\s", " ", html)
    assert "twice(text: str) -&gt; str" in handle._repr_html_()
    bundle = handle._repr_mimebundle_()
    assert bundle["text/plain"] == repr(handle)
    source = (
        'pfunc f(x: str) -> str:\n    "{{x}}:{{gen}}"\n\nflow g(x: str) -> str:\n    return f(x)\n'
    )
    with parrotc.compile(source, engine="reference") as program:
        assert "g(x: str)" in program._repr_html_() and program.engines() == []


def test_without_graphviz_it_is_text(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from parrotc.viz import svg

    def none(dot: str) -> str:
        raise svg.NoGraphviz

    monkeypatch.setattr(svg, "as_svg", none)
    html = app.twice._repr_html_()
    assert "flowchart TB" in html and "<svg" not in html


def test_what_cannot_be_compiled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PROGRAM.replace(
        "text: str) -> str:\n    return note", "text: dict) -> str:\n    return note"
    )
    (tmp_path / "notebook_wrong.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    wrong = importlib.import_module("notebook_wrong")
    assert "E0128" in wrong.twice._repr_html_()

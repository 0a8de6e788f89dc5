"""Programs written as flows and as eager Python: the same texts, and no token filled more often."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parrotc import Graph
from parrotc.eager.service import Service
from parrotc.settings import Settings
from parrotc.stdlib.text import chunk
from parrotc.stdlib.vote import majority

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "python"
DOC = "One two three four. " * 300


def map_reduce(app: ModuleType) -> Any:
    return app.merge([app.digest(part) for part in chunk(DOC, 400)]).get()


def refine(app: ModuleType) -> Any:
    first, *rest = chunk(DOC, 2000)
    draft = app.open_summary(first, 20)
    for text in rest:
        draft = app.refine(draft, text, 20)
    return draft.get()


def code_review(app: ModuleType) -> Any:
    """Python's own `if` and `break`, so there is a segment for each round."""
    task = "a to-do list"
    files = app.design.with_(model=app.large)(task).get()
    sources = [app.write(task, files, one) for one in files]
    for _ in range(3):
        verdict = app.review.with_(model=app.large)(task, sources, app.run_tests(sources))
        if verdict.get().approved:
            break
        sources = [app.revise(source, verdict) for source in sources]
    return [source.get() for source in sources]


def vote(app: ModuleType) -> Any:
    return majority([one.answer for one in app.solve.with_(n=5)("2 + 2").get()])


TWINS: dict[str, tuple[str, Callable[[ModuleType], Any], str, dict[str, Any]]] = {
    "map_reduce": ("map_reduce", map_reduce, "summarise", {"doc": DOC, "size": 400}),
    "refine": ("refine", refine, "summarise", {"doc": DOC, "words": 20}),
    "code_review": ("code_review", code_review, "build", {"task": "a to-do list"}),
    "vote": ("vote_tree", vote, "self_consistency", {"problem": "2 + 2", "n": 5}),
}


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin(twin: str, imported: Callable[[str], ModuleType]) -> None:
    module, eager, name, inputs = TWINS[twin]
    app = imported(module)
    flow = getattr(app, name)
    compiled = flow.compile(engine="reference", max_new_tokens=24)
    service = Service(Settings(engine="reference", max_new_tokens=24), {})
    with Graph(name, service=service) as graph:
        assert eager(app) == compiled(**inputs)
    (there,) = service.engines()
    service.close()
    again = Service(Settings(engine="reference", max_new_tokens=24), {})
    with Graph(name, service=again):
        flow.start(**inputs).get()
    (one,) = again.engines()
    again.close()
    if graph.segments == 1:
        assert there.filled_tokens == one.filled_tokens
    assert there.filled_tokens <= one.filled_tokens
    (plain,) = compiled._background.result(_engines(compiled))
    assert there.filled_tokens <= plain.filled_tokens


async def _engines(compiled: Any) -> list[Any]:
    program = compiled._runner.__self__
    return [await engine.ping() for engine in program._engines.open]

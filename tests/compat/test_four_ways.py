"""One program in four styles: the same texts, and the same tokens filled."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import parrotc
from parrotc import Graph
from parrotc.compat.parrot import P
from parrotc.eager.service import Service
from parrotc.flowhandle import FlowHandle
from parrotc.program import LoadedProgram
from parrotc.settings import Settings
from parrotc.stdlib.text import chunk
from parrotc.stdlib.vote import majority

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DOC = " ".join(f"Sentence {n} says what follows from {n * n}." for n in range(150))
SETTINGS: dict[str, Any] = {  # a width of their own: programs of other tests have filled theirs
    "engine": "reference",
    "max_new_tokens": 24,
    "width": 100,
}


class Program(NamedTuple):
    file: str
    flow: str
    inputs: dict[str, Any]


PROGRAMS = {
    "map_reduce": Program("map_reduce", "summarise", {"doc": DOC, "size": 400}),
    "refine": Program("refine", "summarise", {"doc": DOC, "words": 20}),
    "code_review": Program("code_review", "build", {"task": "a to-do list"}),
    "vote": Program("vote_tree", "self_consistency", {"problem": "2 + 2", "n": 5}),
}


# --- as eager Python ---


def map_reduce(app: ModuleType, doc: str, size: int) -> Any:
    return app.merge([app.digest(part) for part in chunk(doc, size)]).get()


def refine(app: ModuleType, doc: str, words: int) -> Any:
    first, *rest = chunk(doc, 2000)
    draft = app.open_summary(first, words)
    for text in rest:
        draft = app.refine(draft, text, words)
    return draft.get()


def code_review(app: ModuleType, task: str) -> Any:
    files = app.design.with_(model=app.large)(task).get()
    sources = [app.write(task, files, one) for one in files]
    for _ in range(3):
        verdict = app.review.with_(model=app.large)(task, sources, app.run_tests(sources))
        if verdict.get().approved:
            break
        sources = [app.revise(source, verdict) for source in sources]
    return [source.get() for source in sources]


def vote(app: ModuleType, problem: str, n: int) -> Any:
    return majority([one.answer for one in app.solve.with_(n=n)(problem).get()])


EAGER = {"map_reduce": map_reduce, "refine": refine, "code_review": code_review, "vote": vote}


# --- the four ways, each on engines of its own ---


@pytest.fixture
def service() -> Iterator[Callable[[], Service]]:
    opened: list[Service] = []

    def make() -> Service:
        opened.append(Service(Settings(**SETTINGS), {}))
        return opened[-1]

    yield make
    for service in opened:
        service.close()


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(str(EXAMPLES / "python"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def filled(service: Service) -> int:
    return sum(engine.filled_tokens for engine in service.engines())


def as_flow(flow: FlowHandle, inputs: dict[str, Any]) -> tuple[Any, int]:
    """What a compiled flow gives, and how many tokens its engines have filled."""
    given = flow(**inputs)

    async def ask() -> int:
        program: LoadedProgram = flow._runner.__self__  # type: ignore[attr-defined]
        return sum([(await engine.ping()).filled_tokens for engine in program._engines.open])

    return given, flow._background.result(ask())


def in_parrot(name: str, imported: Callable[[str], ModuleType], service: Service) -> Any:
    twin = getattr(imported("parrot_twins"), name)
    given: list[Any] = []

    def program(*args: Any, **inputs: Any) -> None:
        given.append(twin(vm, *args, **inputs))

    program.__name__ = PROGRAMS[name].flow
    vm = P.VirtualMachine(**SETTINGS)
    vm.service = service
    vm.run(program, args=list(PROGRAMS[name].inputs.values()))
    return given[0]


@pytest.mark.parametrize("name", PROGRAMS)
def test_four_ways(
    name: str, imported: Callable[[str], ModuleType], service: Callable[[], Service]
) -> None:
    program = PROGRAMS[name]
    app = imported(program.file)
    pfn = parrotc.compile(EXAMPLES / f"{program.file}.pfn", **SETTINGS)
    flow = getattr(app, program.flow).compile(**SETTINGS)
    eager, parrot = service(), service()

    wanted, count = as_flow(getattr(pfn, program.flow), program.inputs)
    assert wanted and count
    assert as_flow(flow, program.inputs) == (wanted, count)
    with Graph(program.flow, service=eager):
        assert EAGER[name](app, **program.inputs) == wanted
    assert in_parrot(name, imported, parrot) == wanted
    assert (filled(eager), filled(parrot)) == (count, count)

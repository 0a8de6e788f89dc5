"""`.pfn` files as Python modules, and what type checkers are told about them."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import parrotc

from parrotc import CompileError
from parrotc.importer import PfnFinder

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
enum Topic:
    TECH "errors"
    OTHER

class Doc:
    id: str(max_len=3)
    marks: list[int(ge=1, le=3)](max_len=2)
    topic: Topic? = None

pfunc make(mail: str, n: int = 2) -> (doc: Doc, topic: scored[Topic], tone: "kind" | "rude"):
    user "Make {{n}} of {{mail}}"
    assistant "{{gen doc}}{{gen topic}}{{gen tone}}"

flow pick(mail: str, docs: list[Doc] = []) -> Doc:
    made = make(mail)
    return made.doc

flow say(text: str) -> str:
    return text
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PARROTC_ENGINE", "reference")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("imported_")]:
        del sys.modules[name]


def test_a_file_is_a_module(folder: Path) -> None:
    (folder / "imported_app.pfn").write_text(PROGRAM)
    app = importlib.import_module("imported_app")
    assert app.__file__ == str(folder / "imported_app.pfn")
    doc = app.pick("x", docs=[])
    assert isinstance(doc, app.Doc) and app.Doc.__module__ == "imported_app"
    made = app.make("x")
    assert made.topic.value in app.Topic and made.tone in ("kind", "rude") and made.doc == doc
    assert asyncio.run(app.say.acall(text="x")) == "x"
    assert {"pick", "say", "make", "Doc", "Topic"} <= set(dir(app))
    assert app.make.__name__ == "make"


def test_names_are_imported(folder: Path) -> None:
    (folder / "imported_names.pfn").write_text(PROGRAM)
    script = folder / "script.py"
    script.write_text(
        "import parrotc.importer\nfrom imported_names import *\n"
        "from imported_names import say as tell\n"
        "print(tell('x'), type(pick('y')).__name__)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == "x Doc\n", done.stderr
    with pytest.raises(ImportError):
        from imported_names import nothing  # type: ignore[import-not-found]  # noqa: F401


def test_a_file_in_a_package(folder: Path) -> None:
    (folder / "imported_pkg").mkdir()
    (folder / "imported_pkg" / "__init__.py").write_text("")
    (folder / "imported_pkg" / "inner.pfn").write_text(PROGRAM)
    assert importlib.import_module("imported_pkg.inner").say("x") == "x"


def test_python_comes_first_and_nothing_is_compiled_before_it_is_used(folder: Path) -> None:
    (folder / "imported_two.py").write_text("say = 1\n")
    (folder / "imported_two.pfn").write_text(PROGRAM)
    assert importlib.import_module("imported_two").say == 1
    (folder / "imported_wrong.pfn").write_text("flow f() -> str:\n    return x\n")
    wrong = importlib.import_module("imported_wrong")
    with pytest.raises(CompileError, match="E0301"):
        _ = wrong.f
    assert isinstance(sys.meta_path[-1], PfnFinder)


def test_a_python_program_and_a_pfn_file(folder: Path) -> None:
    """A Python program may use a `.pfn` file: compiled together, and imported as Python does."""
    (folder / "imported_lib.pfn").write_text(PROGRAM)
    (folder / "imported_main.py").write_text(
        "import parrotc.importer\nfrom parrotc import flow\n"
        "from imported_lib import Doc, pick\n\n\n"
        "@flow\ndef main(mail: str) -> Doc:\n    return pick(mail)\n"
    )
    main = importlib.import_module("imported_main")
    assert isinstance(main.main("x"), main.Doc)
    assert main.main("x") == main.pick("x")


USES = """
import parrotc.importer
import app
from app import Topic, pick
reveal_type(pick(mail="x", docs=[]).marks)
pick(docs=[Topic.TECH])
reveal_type(app.pick("x"))
reveal_type(app.make(mail="x", n=3))
reveal_type(app.make(mail="x").topic.p)
reveal_type(app.pick("x").topic)
app.say(3)
app.pick("x").nothing
"""


def test_type_checkers_see_the_types(folder: Path) -> None:
    (folder / "app.pfn").write_text(PROGRAM)
    done = parrotc(
        "compile", str(folder / "app.pfn"), "--emit", "stubs", "-o", str(folder / "app.pyi")
    )
    assert done.code == 0, done.err
    (folder / "uses.py").write_text(USES)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="]
    command = [*mypy, "--cache-dir", str(folder / "cache"), "uses.py", "app.pyi"]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done_mypy = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    found = done_mypy.stdout
    lines = [line for line in found.splitlines() if line.startswith(("uses", "app"))]
    assert [line.split(": ", 2)[2].split("  [")[0] for line in lines] == [
        'Revealed type is "list[int]"',
        'Missing positional argument "mail" in call to "__call__" of "_pick"',
        'List item 0 has incompatible type "Topic"; expected "Doc"',
        'Revealed type is "app.Doc"',
        'Revealed type is "app._make_outputs"',
        'Revealed type is "float"',
        'Revealed type is "app.Topic | None"',
        'Argument 1 to "__call__" of "_say" has incompatible type "int"; expected "str"',
        '"Doc" has no attribute "nothing"',
    ]

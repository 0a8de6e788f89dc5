"""`parrotc doctor`: what is installed, what is missing, and how to get it."""

import asyncio
import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

from parrotc.cli.command import Command, format_option

# what needs it, the extra that brings it, packages
PARTS = (
    ("compiling", "", ("lark", "networkx", "pydantic", "tokenizers", "jinja2", "click", "rich")),
    ("the embedded engine", "engine", ("torch", "numpy", "gguf", "safetensors", "llguidance")),
    ("Hugging Face models", "transformers", ("transformers",)),
    ("kernels for a GPU", "cuda", ("triton",)),
    ("serving", "serve", ("aiohttp",)),
    ("text endpoints", "openai", ("openai",)),
    ("pictures", "viz", ("pygraphviz",)),
)


class Line(NamedTuple):
    """One thing looked at. `is_needed`: without it a program cannot run on the embedded model."""

    name: str
    found: str
    advice: str = ""
    is_needed: bool = False


@click.command("doctor", cls=Command)
@click.option(
    "--engine",
    metavar="URL[#MODEL]",
    help="Ask this OpenAI-compatible server what it can do, and write its profile instead.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    default="endpoint.json",
    show_default=True,
    help="Where the profile goes.",
)
@click.option("--key", metavar="NAME", help="The environment variable that holds its key.")
@format_option
def command(engine: str | None, output: str, key: str | None) -> None:
    """Say what is installed, what is missing and how to get it.

    Exits with 1 if a program cannot run on the embedded model here.
    """
    from parrotc.report import aligned

    if engine is not None:
        _probe(engine, output, key)
        return
    lines = [*_machine(), *_packages(), *_model()]
    click.echo(aligned([[_mark(line), line.name, line.found] for line in lines]))
    missing = [line for line in lines if line.advice]
    for line in missing:
        click.echo(f"\n{line.name}: {line.advice}")
    if not missing:
        click.echo("\neverything is there")
    if any(line.is_needed for line in missing):
        sys.exit(1)


def _probe(url: str, output: str, key: str | None) -> None:
    """Ask an endpoint and write its profile. Raises `CompileError`."""
    from parrotc.ir.diagnostic import CompileError, Diagnostic
    from parrotc.report import aligned
    from parrotc.runtime.engines.openai.options import read_options
    from parrotc.runtime.engines.openai.profiles import described, to_data
    from parrotc.runtime.engines.protocol import EngineError

    try:
        from parrotc.runtime.engines.openai.probe import Probe

        options = read_options("openai", url, {"api_key": os.environ[key]} if key else {})
        profile = asyncio.run(Probe(options).profile())
    except ImportError as error:
        help_ = "pip install 'parrotc[openai]'"
        found = Diagnostic("E0610", f"an endpoint cannot be asked: {error}", help=help_)
        raise CompileError([found]) from None
    except KeyError:
        found = Diagnostic("E0610", f"there is no environment variable {key}")
        raise CompileError([found]) from None
    except (EngineError, ValueError) as error:
        found = Diagnostic("E0610", f"the endpoint cannot be asked: {error}")
        raise CompileError([found]) from None
    click.echo(aligned([list(line) for line in described(profile)]))
    text = json.dumps(to_data(profile), indent=2, ensure_ascii=False)
    Path(output).write_text(f"{text}\n", "utf-8")
    click.echo(f'its profile is in {output}: use it with `profile="{output}"`', err=True)


def _mark(line: Line) -> str:
    if not line.advice:
        return "ok"
    return "missing" if line.is_needed else "-"


def _machine() -> list[Line]:
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return [
        Line("parrotc", version("parrotc")),
        Line("Python", f"{platform.python_version()} ({sys.executable})"),
        Line("machine", f"{where}, {'a GPU' if shutil.which('nvidia-smi') else 'no GPU'}"),
        Line("threads", os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()} (OMP_NUM_THREADS)")),
        _compiler(),
    ]


def _compiler() -> Line:
    from parrotc.kernels.compiled import compiler

    found = compiler()
    if found is not None:
        return Line("C compiler", found)
    advice = "install gcc: the embedded engine compiles its kernels with it, and is slow without"
    return Line("C compiler", "none", advice)


def _packages() -> list[Line]:
    return [_part(*part) for part in PARTS]


def _part(what: str, extra: str, packages: tuple[str, ...]) -> Line:
    there = {name: _version(name) for name in packages}
    found = ", ".join(f"{name} {held}" for name, held in there.items() if held)
    missing = [name for name, held in there.items() if held is None]
    if not missing:
        return Line(what, found)
    wanted = f"parrotc[{extra}]" if extra else "parrotc"
    advice = f"{', '.join(missing)} not installed: pip install '{wanted}'"
    if extra == "viz" and shutil.which("dot"):
        return Line(what, "the dot program")
    return Line(what, found or "not installed", advice, is_needed=extra in ("", "engine"))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _model() -> list[Line]:
    from parrotc.runtime.models import EMBEDDED, ModelError, cache_folder, find_embedded, resolve

    cache = Line("model cache", str(cache_folder()))
    if find_embedded(cache_folder()) is None:
        return [cache, Line("embedded model", "not here yet", "the first run fetches it (93 MB)")]
    try:
        files = resolve(EMBEDDED)
        files.check()
    except ModelError as error:
        return [cache, Line("embedded model", error.message, error.help, is_needed=True)]
    return [cache, Line("embedded model", f"{files.path}, its checksum is right")]

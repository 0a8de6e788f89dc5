"""What several commands take: a program and a flow in it, inputs, and what to compile for."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Place(NamedTuple):
    """`app.pfn:summarise`: a file, and what is meant in it (empty: the only one)."""

    path: str
    name: str


class PlaceType(click.ParamType[Any]):
    """Reads `FILE[:NAME]`. A drive letter is no name: what follows the colon must be one."""

    name = "file[:name]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        path, colon, name = value.rpartition(":")
        if colon and name.replace(".", "_").isidentifier() and path:
            return Place(path, name)
        return Place(value, "")


class PairType(click.ParamType[Any]):
    """Reads `NAME=VALUE`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, equals, rest = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, rest


@dataclass(frozen=True)
class Choices:
    """What the shared options say; `settings` gives the rest. None: not given."""

    level: str | None
    engine: str | None
    models: Mapping[str, str]


def target_options(function: F) -> F:
    """`-O`, `--engine` and `--model`, given to the command as one `choices`."""

    def command(
        *args: Any,
        level: str | None,
        engine: str | None,
        model: Sequence[tuple[str, str]],
        **others: Any,
    ) -> Any:
        chosen = Choices(f"O{level}" if level else None, engine, dict(model))
        return function(*args, choices=chosen, **others)

    command.__doc__ = function.__doc__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option(
            "--model",
            type=PairType(),
            multiple=True,
            metavar="NAME=SPEC",
            help="Run the model NAME of the program on SPEC: a name, a folder, a GGUF file.",
        ),
        click.option(
            "--engine",
            metavar="KIND",
            help="Run every model on this engine: embedded, transformers, reference, a URL, or"
            " openai:URL.",
        ),
        click.option(
            "-O",
            "level",
            type=click.Choice(["0", "1"]),
            help="0: as written. 1 (the default): shared, batched, the same tokens.",
        ),
    ):
        command = option(command)
    return command  # type: ignore[return-value]


def input_arguments(function: F) -> F:
    """The inputs of a flow or a function: `name=value …`."""
    return click.argument("inputs", nargs=-1, type=PairType(), metavar="[NAME=VALUE]...")(function)


def text_of(value: str) -> str:
    """The text an input stands for: `@file` is the file's, `@-` stdin's, `@@x` is `@x`."""
    if not value.startswith("@") or value.startswith("@@"):
        return value[1:] if value.startswith("@@") else value
    if value == "@-":
        return sys.stdin.read()
    from parrotc.driver import read_source

    return read_source(Path(value[1:])).text

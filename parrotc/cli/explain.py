"""`parrotc explain`: the page of a diagnostic code."""

import difflib
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable

import click

from parrotc.cli.command import Command
from parrotc.cli.findings import in_colour


@click.command("explain", cls=Command)
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain a diagnostic code, or list all codes.

    Every finding has a code such as E0302. Its page says what the finding means, shows a program
    that has it and one that does not.
    """
    pages = _pages()
    if code is None:
        for name, page in pages.items():
            click.echo(f"{name}  {_title(page)}")
        return
    if code.upper() not in pages:
        near = difflib.get_close_matches(code.upper(), pages, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise click.UsageError(f"there is no code {code}.{hint}")
    _show(pages[code.upper()].read_text("utf-8"))


def _pages() -> dict[str, Traversable]:
    folder = files("parrotc.check") / "explain"
    found = (page for page in folder.iterdir() if page.name.endswith(".md"))
    return {page.name.removesuffix(".md"): page for page in sorted(found, key=lambda p: p.name)}


def _title(page: Traversable) -> str:
    head = page.read_text("utf-8").split("\n", 1)[0].lstrip("# ")
    return head.removeprefix(page.name.removesuffix(".md")).lstrip(": ")


def _show(text: str) -> None:
    if not in_colour(sys.stdout):
        click.echo(text.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))

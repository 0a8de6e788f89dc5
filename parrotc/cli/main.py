"""`parrotc`: the group of commands. Starting it loads nothing of a command but its one line."""

import difflib
from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

COMMANDS = {
    "check": "Find the mistakes in a program without running it.",
    "compile": "Compile a program into a plan, or print one of its stages.",
    "run": "Run a flow and print its result.",
    "test": "Run the `test` blocks of programs.",
    "engine": "Serve one model over HTTP.",
    "serve": "Serve sessions, plans and OpenAI's API over HTTP, on many engines.",
    "launch": "Start a core and its engines on this machine.",
    "plan": "Show what a flow will cost: calls, tokens, sharing, depth.",
    "render": "Print the exact prompt of a semantic function.",
    "viz": "Draw a flow as the compiler sees it.",
    "opt": "Run passes over a program's IR and print the result.",
    "passes": "List the passes and the pipelines.",
    "explain": "Explain a diagnostic code.",
    "doctor": "Say what is installed, what is missing and how to get it.",
}


class LazyGroup(click.Group):
    """A group that imports `parrotc.cli.NAME` when NAME is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(
                f"there is no command `{cmd_name}`"
                + "".join(f"; did you mean `{n}`?" for n in near)
            )
        command: click.Command = import_module(f"parrotc.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"parrotc {version('parrotc')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Compile and run programs of language-model calls.

    Try `parrotc run app.pfn name=value`, or `parrotc COMMAND --help`.
    """


def run(argv: list[str] | None = None) -> Any:
    """The entry for tests and for `python -m parrotc.cli.main`."""
    return main(args=argv, prog_name="parrotc")


if __name__ == "__main__":
    run()

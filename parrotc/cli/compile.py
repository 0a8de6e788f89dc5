"""`parrotc compile`: a plan in a file, or one of the stages on stdout."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parrotc.cli.arguments import Choices, target_options
from parrotc.cli.command import Command, format_option, report

if TYPE_CHECKING:
    from parrotc.driver import Compilation
    from parrotc.ir.ops import Module

STAGES = ("ast", "ir", "plan", "json-schema", "stubs")


@click.command("compile", cls=Command)
@click.argument("file", type=click.Path())
@click.option(
    "-o", "--output", type=click.Path(), help="Where the plan goes (default: FILE.pplan)."
)
@click.option("--emit", type=click.Choice(STAGES), help="Print this stage instead.")
@click.option(
    "--dump", type=click.Path(file_okay=False), help="Write every stage into this folder."
)
@target_options
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    choices: Choices,
    *,
    output: str | None,
    emit: str | None,
    dump: str | None,
) -> None:
    """Compile a program into a plan, or print one of its stages.

    `--emit ir -O0` is the program as lowered; with `-O1`, after the passes.
    """
    from parrotc.cli.loading import compile_file, settings_for
    from parrotc.program import LoadedProgram

    settings = settings_for(choices)
    if emit == "ast":
        _print(_tree(file), output)
        return
    if emit == "stubs":
        _print(_stubs(file), output)
        return
    dumped = Dump(Path(dump)) if dump else None
    compilation = compile_file(file, choices, settings, observer=dumped and dumped.after)
    report(ctx, compilation.diagnostics)
    if dumped:
        dumped.rest(compilation, file)
    if emit:
        _print(_stage(compilation, emit), output)
    elif output or not dump:
        where = Path(output) if output else Path(file).with_suffix(".pplan")
        LoadedProgram(compilation.plan, folder=Path(file).resolve().parent).save(where)
        click.echo(f"wrote {where}", err=True)


def _print(text: str, output: str | None) -> None:
    if output:
        Path(output).write_text(text, "utf-8")
    else:
        click.echo(text, nl=False)


def _tree(file: str) -> str:
    """The tree of one file, without what it imports."""
    from parrotc.driver import read_source
    from parrotc.frontends import read_tree
    from parrotc.ir.diagnostic import CompileError
    from parrotc.syntax.dump import dump

    tree, diagnostics = read_tree(read_source(file))
    if diagnostics:
        raise CompileError(diagnostics)
    return dump(tree)


def _stubs(file: str) -> str:
    """The `.pyi` file of a program, for editors and type checkers."""
    from parrotc.driver import checked, read_source
    from parrotc.stubs import stubs

    return stubs(checked(read_source(file))[0])


def _stage(compilation: "Compilation", name: str) -> str:
    from parrotc.ir.printer import print_module

    if name == "ir":
        return print_module(compilation.optimised)
    if name == "plan":
        return compilation.plan.to_json().decode()
    return _schemas(compilation)


def _schemas(compilation: "Compilation") -> str:
    """JSON Schemas of the inputs and the result of every flow."""
    import json

    from parrotc.ir.schema import json_schema

    flows = {}
    for flow in compilation.module.flows:
        required = [param.value.name for param in flow.params if not param.has_default]
        flows[flow.name] = {
            "input": {
                "type": "object",
                "properties": {p.value.name: json_schema(p.value.type) for p in flow.params},
                "required": required,
                "additionalProperties": False,
            },
            "output": json_schema(flow.result.type),
        }
    return json.dumps(flows, ensure_ascii=False, indent=2) + "\n"


class Dump:
    """Numbered files of every stage: trees, the module as lowered, after each pass, the plan."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passes: list[tuple[str, Module]] = []

    def after(self, name: str, module: "Module") -> None:
        self._passes.append((name, module))

    def rest(self, compilation: "Compilation", file: str) -> None:
        """Write all files, now that everything is known."""
        from parrotc.ir.printer import print_module
        from parrotc.syntax.dump import dump

        self._folder.mkdir(parents=True, exist_ok=True)
        stages: list[tuple[str, str]] = []
        if compilation.program is not None:
            stages = [
                (f"tree-{Path(tree.source.name).stem}.txt", dump(tree))
                for tree in compilation.program.trees
            ]
        stages.append(("lowered.pir", print_module(compilation.module)))
        stages += [(f"{name}.pir", print_module(module)) for name, module in self._passes]
        stages.append((f"{Path(file).stem}.pplan", compilation.plan.to_json().decode()))
        for number, (name, text) in enumerate(stages):
            (self._folder / f"{number:02}-{name}").write_text(text, "utf-8")
        click.echo(f"wrote {len(stages)} stages into {self._folder}", err=True)

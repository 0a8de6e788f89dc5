"""The one place that strings the stages together: source → program → module → plan.

    compilation = compile_path("app.pfn")
    compilation.plan.to_json()

Mistakes in a program are raised as one `CompileError` with every diagnostic; warnings are in the
`Compilation`. Anything else that is raised is a bug of ours.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from parrotc.check.capabilities import capabilities
from parrotc.check.check import check
from parrotc.check.layout import layout
from parrotc.check.loader import Loader, file_loader
from parrotc.check.program import Program
from parrotc.frontends import worded
from parrotc.ir.diagnostic import CompileError, Diagnostic, Level
from parrotc.ir.ops import Block, Model, Module, Op, blocks, with_blocks
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source, Span
from parrotc.lower import lower
from parrotc.passes.handover import has_handovers, wrong_handovers
from parrotc.passes.remark import Remark
from parrotc.passes.table import PIPELINES, Observer, run
from parrotc.passes.target import Start, Target
from parrotc.planner import make_plan
from parrotc.runtime.plan import Plan
from parrotc.targets import (
    AS_WRITTEN,
    ModelOverrides,
    overridden,
    targets,
    targets_at_hand,
    templates,
)


@dataclass(frozen=True)
class Compilation:
    """Every stage of one compilation. `module` is at flow level, `optimised` after the passes."""

    program: Program | None  # None when a module was compiled
    diagnostics: tuple[Diagnostic, ...]  # warnings
    module: Module
    optimised: Module
    remarks: tuple[Remark, ...]
    target: Target
    plan: Plan


def read_source(path: str | Path) -> Source:
    """The text of a file, named as the user names it. Raises `CompileError`."""
    try:
        text = Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is not"
        raise _unreadable(f"{path} is not UTF-8 text: {where}") from None
    except OSError as error:
        raise _unreadable(f"{path} cannot be read: {error.strerror or error}") from None
    return Source(str(path), text.removeprefix("\ufeff").replace("\r\n", "\n"))


def _unreadable(message: str) -> CompileError:
    return CompileError([Diagnostic("E0100", message)])


def compile_path(
    path: str | Path,
    *,
    level: str = "O1",
    models: ModelOverrides = AS_WRITTEN,
    passes: Sequence[str] | None = None,
    observer: Observer | None = None,
) -> Compilation:
    """Compile a file and what it imports."""
    return compile_source(
        read_source(path), level=level, models=models, passes=passes, observer=observer
    )


def compile_source(
    source: Source,
    *,
    level: str = "O1",
    models: ModelOverrides = AS_WRITTEN,
    passes: Sequence[str] | None = None,
    observer: Observer | None = None,
    load: Loader | None = None,
    alone: bool = False,
) -> Compilation:
    """Compile a text. `passes` replaces the pipeline of `level`; `observer` sees each pass.

    With `alone`, each semantic function of the file is a flow of one call too.
    """
    program, warnings = checked(source, load)
    module = lower(program, alone=alone)
    compiled = compile_module(
        module,
        sources=program.sources(),
        embedded=program.embedded,
        level=level,
        models=models,
        passes=passes,
        observer=observer,
    )
    diagnostics = (*warnings, *worded(layout(program, module)))
    return replace(compiled, program=program, diagnostics=diagnostics)


def checked(source: Source, load: Loader | None = None) -> tuple[Program, tuple[Diagnostic, ...]]:
    """The checked program and its warnings. Raises `CompileError` if it has mistakes."""
    program, diagnostics = check(source, load or file_loader())
    if any(diagnostic.level is Level.ERROR for diagnostic in diagnostics):
        raise CompileError(diagnostics)
    return program, tuple(diagnostics)


def findings(source: Source, load: Loader | None = None) -> tuple[Diagnostic, ...]:
    """All that is wrong with a program, on the models that it names.

    What depends on their tokenizers is told where those are at hand.
    """
    program, found = check(source, load or file_loader())
    if any(diagnostic.level is Level.ERROR for diagnostic in found):
        return found
    module = lower(program)
    wrong = (*capabilities(module), *_handovers(module), *layout(program, module))
    return (*found, *worded(wrong))


def _handovers(module: Module) -> list[Diagnostic]:
    target = targets_at_hand(module) if has_handovers(module) else None
    return [] if target is None else wrong_handovers(module, target)


def retarget(plan: Plan, models: ModelOverrides = AS_WRITTEN) -> Compilation:
    """Compile a plan's program again, for other models, from the flow-level IR it holds."""
    sources = tuple(Source(source.name, source.text) for source in plan.sources)
    module = parse_module(Source(f"{plan.name}.pir", plan.flow_level.text))
    spans = (
        place and Span(sources[place[0]], place[1], place[2]) for place in plan.flow_level.spans
    )
    return compile_module(
        _with_spans(module, spans),
        sources=sources,
        embedded=tuple((one.path, one.sha256) for one in plan.embedded),
        level=plan.level,
        models=models,
        passes=plan.passes,
    )


def compile_module(
    module: Module,
    *,
    sources: Sequence[Source] = (),
    embedded: Sequence[tuple[str, str]] = (),
    level: str = "O1",
    models: ModelOverrides = AS_WRITTEN,
    passes: Sequence[str] | None = None,
    observer: Observer | None = None,
    starts: Callable[[Sequence[Model], Target], Mapping[str, Sequence[Start]]] | None = None,
) -> Compilation:
    """Compile a flow-level module. `sources` may be left out: its ops know where they are from.

    `starts` says what prompts of other programs begin with on each of its models.
    """
    module = overridden(module, models)
    if lacking := capabilities(module):
        raise CompileError(worded(lacking))
    target = targets(module, models)
    if starts is not None:
        target = target.with_starts(starts(module.models, target))
    names = tuple(passes or PIPELINES[level])
    remarks: list[Remark] = []
    optimised = run(
        module, target, names, after=observer, remarks=remarks, crash_folder=_crash_folder
    )
    plan = make_plan(
        module,
        optimised,
        target,
        compiler=version("parrotc"),
        level=level,
        sources=sources,
        embedded=embedded,
        templates=templates(module, models),
        passes=names,
        remarks=[str(remark) for remark in remarks],
    )
    return Compilation(None, (), module, optimised, tuple(remarks), target, plan)


def _crash_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="parrotc-crash-"))


def _with_spans(module: Module, spans: Iterator[Span | None]) -> Module:
    """The module with the places that `planner.places` listed."""
    return replace(
        module,
        natives=tuple(replace(native, span=next(spans)) for native in module.natives),
        functions=tuple(
            replace(f, span=next(spans), body=_spanned(f.body, spans)) for f in module.functions
        ),
        flows=tuple(
            replace(f, span=next(spans), body=_spanned(f.body, spans)) for f in module.flows
        ),
    )


def _spanned(block: Block, spans: Iterator[Span | None]) -> Block:
    done: list[Op] = []
    for op in block.ops:
        placed = replace(op, span=next(spans))
        done.append(with_blocks(placed, tuple(_spanned(b, spans) for b in blocks(op))))
    return replace(block, ops=tuple(done))

"""What a plan will do, before it runs: its calls, their tokens, what they share, how deep it is.

Numbers are exact where the program decides them and symbolic where inputs do: `44 + |part|`. Given
the inputs they become numbers, as far as no model and no function of the user's has a say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from parrotc.driver import Compilation
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.ops import Flow
from parrotc.ir.symbolic import Most, Symbolic, lift
from parrotc.ir.types import Json
from parrotc.passes.table import PIPELINES, run
from parrotc.prompts import Prompt, Prompts, counter
from parrotc.sizes import Functions, sizes


@dataclass(frozen=True)
class CallRow:
    """One place that generates. Token figures are of one run of it."""

    title: str
    place: str
    times: Symbolic
    constant: int
    varying: Symbolic
    shared: Symbolic
    limit: int
    criteria: str
    group: str
    depth: str


@dataclass(frozen=True)
class Report:
    """A flow's figures. `as_written` is what it would read without sharing."""

    flow: str
    place: str
    rows: tuple[CallRow, ...]
    calls: Symbolic
    depth: Most
    width: Most
    read: Symbolic
    as_written: Symbolic
    generated: Symbolic
    remarks: tuple[str, ...]


def report(
    compilation: Compilation, name: str, args: Mapping[str, Json], functions: Functions
) -> Report:
    """The figures of a flow. `functions` finds those of the standard library, by target."""
    optimised = next(flow for flow in compilation.optimised.flows if flow.name == name)
    prompts = Prompts(compilation.module, compilation.optimised, optimised, compilation.target)
    plain = run(compilation.module, compilation.target, PIPELINES["O0"], verify_each=False)
    written = next(flow for flow in plain.flows if flow.name == name)
    known = sizes(
        plain,
        written,
        compilation.target,
        args,
        counter(plain, compilation.target),
        functions,
    )
    before = Prompts(compilation.module, plain, written, compilation.target)
    analysis = prompts.analysis
    return Report(
        flow=name,
        place=str(optimised.span or ""),
        rows=tuple(_row(prompts, prompt, known) for prompt in prompts.prompts),
        calls=analysis.calls.at(known),
        depth=analysis.depth.at(known),
        width=analysis.width.at(known),
        read=prompts.read().at(known),
        as_written=before.read().at(known),
        generated=prompts.generated().at(known),
        remarks=tuple(map(str, compilation.remarks)),
    )


def _row(prompts: Prompts, prompt: Prompt, known: Mapping[str, float]) -> CallRow:
    op, constant = prompt.op, prompts.constant(prompt)
    line = op.span.position()[0] if op.span else None
    return CallRow(
        title=prompt.title,
        place=str(line or ""),
        times=prompts.analysis.times(op).at(known),
        constant=constant,
        varying=(prompts.analysis.tokens(op.context) - constant).at(known),
        shared=prompts.shared(prompt).at(known),
        limit=op.max_tokens,
        criteria=str(op.note("criteria") or ""),
        group=_text(op.note("group")),
        depth=_text(op.note("depth")),
    )


def _text(note: Json) -> str:
    return "" if note is None else str(note)


# --- gates ---


def gates(found: Report, flow: Flow, limits: Mapping[str, int | None]) -> list[Diagnostic]:
    """What exceeds its limit, or may. `limits` has `calls`, `tokens` and `depth`."""
    figures = {
        "calls": Most((found.calls,)),
        "tokens": Most((found.read + found.generated,)),
        "depth": found.depth,
    }
    checks = (_gate(name, figures[name], limit, flow) for name, limit in limits.items() if limit)
    return [diagnostic for diagnostic in checks if diagnostic]


_CODES = {"calls": "E0501", "tokens": "E0502", "depth": "E0503"}


def _gate(name: str, figure: Most, limit: int, flow: Flow) -> Diagnostic | None:
    value = figure.constant
    if value is None:
        return Diagnostic(
            "E0504",
            f"whether the flow stays within {limit:,} {name} depends on its inputs",
            flow.span,
            notes=(f"{name}: {figure}",),
            help="give the inputs, as in NAME=VALUE or NAME=@FILE",
        )
    if value <= limit:
        return None
    message = f"the flow has up to {value:,.0f} {name}, and {limit:,} are allowed"
    return Diagnostic(_CODES[name], message, flow.span)


# --- text ---


def as_text(found: Report) -> str:
    """The report as a table with totals below, the same on a terminal and in a file."""
    head = ["call", "line", "times", "prompt tokens", "shared", "output", "class", "group", "depth"]
    rows = [_cells(row) for row in found.rows]
    used = [n for n, _ in enumerate(head) if n < 6 or any(row[n] for row in rows)]
    table = [[row[n] for n in used] for row in [head, *rows]]
    totals = [
        ["calls", _most(found.calls)],
        ["depth", str(found.depth)],
        ["width", str(found.width)],
        ["tokens read", f"{_most(found.read)}{_saving(found)}"],
        ["generated", f"at most {_most(found.generated)}"],
    ]
    parts = [f"flow {found.flow}  ({found.place})", aligned(table), aligned(totals)]
    if found.remarks:
        parts.append("\n".join(["remarks", *(f"  {remark}" for remark in found.remarks)]))
    return "\n\n".join(parts)


def _cells(row: CallRow) -> list[str]:
    prompt = lift(row.constant) + row.varying
    return [
        row.title,
        row.place,
        _most(row.times),
        _most(prompt),
        _most(row.shared) if row.shared.terms else "–",
        f"≤ {row.limit:,}",
        row.criteria,
        row.group,
        row.depth,
    ]


def _saving(found: Report) -> str:
    saved, whole = (found.as_written - found.read).constant, found.as_written.constant
    if saved is not None and whole:
        return f"  (as written {_most(found.as_written)}: sharing saves {saved / whole:.0%})"
    if found.as_written == found.read:
        return ""
    return f"  (as written {_most(found.as_written)})"


def _most(figure: Symbolic) -> str:
    """A polynomial for people: round numbers, thousands apart, an estimate marked as one."""
    value = figure.constant
    if value is None:
        return str(figure)
    return f"{value:,.0f}" if abs(value - round(value)) < 1e-6 else f"{value:,.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, without white space at the ends of lines."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )

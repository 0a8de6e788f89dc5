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
from parrotc.ir.symbolic import Most, Symbolic
from parrotc.ir.types import Json
from parrotc.passes.table import PIPELINES, run
from parrotc.prompts import Prompt, Prompts, counter
from parrotc.sizes import Functions, Sizes, sizes


@dataclass(frozen=True)
class Figure:
    """A count: as far as it is known, and at most."""

    exact: Symbolic | Most
    limit: Symbolic | Most

    def __str__(self) -> str:
        """For people: thousands apart, means and limits marked as such, else the polynomial."""
        if self.exact.constant is not None:
            return _number(self.exact.constant)
        if self.limit.constant is not None:
            return f"≤ {_number(self.limit.constant)}"
        return str(self.exact)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"≈ {value:,.0f}"


@dataclass(frozen=True)
class CallRow:
    """One place that generates. Token figures are of one run of it."""

    title: str
    line: int | None
    times: Figure
    constant: int
    prompt: Figure
    shared: Figure
    limit: int
    criteria: str
    group: Json
    depth: Json


@dataclass(frozen=True)
class Report:
    """A flow's figures, in tokens: `as_written` is what it would read without sharing, `total` what
    it reads and generates."""

    flow: str
    place: str
    rows: tuple[CallRow, ...]
    calls: Figure
    depth: Figure
    width: Figure
    read: Figure
    as_written: Figure
    saved: Figure
    generated: Figure
    total: Figure
    remarks: tuple[str, ...]


def report(
    compilation: Compilation, name: str, args: Mapping[str, Json], functions: Functions
) -> Report:
    """The figures of a flow. `functions` finds those of the standard library, by target."""
    optimised = next(flow for flow in compilation.optimised.flows if flow.name == name)
    prompts = Prompts(compilation.module, compilation.optimised, optimised, compilation.target)
    plain = run(compilation.module, compilation.target, PIPELINES["O0"], verify_each=False)
    written = next(flow for flow in plain.flows if flow.name == name)
    count = counter(plain, compilation.target)
    given = sizes(plain, written, compilation.target, args, count, functions)
    before = Prompts(compilation.module, plain, written, compilation.target)
    return Report(
        flow=name,
        place=str(optimised.span or ""),
        rows=tuple(_row(prompts, prompt, given) for prompt in prompts.prompts),
        calls=_figure(prompts.analysis.calls, given),
        depth=_figure(prompts.analysis.depth, given),
        width=_figure(prompts.analysis.width, given),
        read=_figure(prompts.read(), given),
        as_written=_figure(before.read(), given),
        saved=_figure(before.read() - prompts.read(), given),
        generated=_figure(prompts.generated(), given),
        total=_figure(prompts.read() + prompts.generated(), given),
        remarks=tuple(map(str, compilation.remarks)),
    )


def _figure(count: Symbolic | Most, given: Sizes) -> Figure:
    exact = count.at(given.known)
    return Figure(exact, exact.at(given.limits))


def _row(prompts: Prompts, prompt: Prompt, given: Sizes) -> CallRow:
    op = prompt.op
    return CallRow(
        title=prompt.title,
        line=op.span.position()[0] if op.span else None,
        times=_figure(prompts.analysis.times(op), given),
        constant=prompts.constant(prompt),
        prompt=_figure(prompts.analysis.tokens(op.context), given),
        shared=_figure(prompts.shared(prompt), given),
        limit=op.max_tokens,
        criteria=str(op.note("criteria") or ""),
        group=op.note("group"),
        depth=op.note("depth"),
    )


# --- gates ---


def gates(found: Report, flow: Flow, limits: Mapping[str, int | None]) -> list[Diagnostic]:
    """What exceeds its limit, or may. `limits` has `calls`, `tokens` and `depth`."""
    figures = {
        "calls": found.calls,
        "tokens": found.total,
        "depth": found.depth,
    }
    checks = (_gate(name, figures[name], limit, flow) for name, limit in limits.items() if limit)
    return [diagnostic for diagnostic in checks if diagnostic]


_CODES = {"calls": "E0501", "tokens": "E0502", "depth": "E0503"}


def _gate(name: str, figure: Figure, limit: int, flow: Flow) -> Diagnostic | None:
    value = figure.limit.constant
    if value is None:
        return Diagnostic(
            "E0504",
            f"whether the flow stays within {limit:,} {name} depends on its inputs",
            flow.span,
            notes=(f"{name}: {figure.exact}",),
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
        ["calls", str(found.calls)],
        ["depth", str(found.depth)],
        ["width", str(found.width)],
        ["tokens read", str(found.read)],
        *_saving(found),
        ["generated", f"at most {found.generated}"],
    ]
    parts = [f"flow {found.flow}  ({found.place})", aligned(table), aligned(totals)]
    if found.remarks:
        parts.append("\n".join(["remarks", *(f"  {remark}" for remark in found.remarks)]))
    return "\n\n".join(parts)


def _cells(row: CallRow) -> list[str]:
    shared = "–" if row.shared.exact == Symbolic() else str(row.shared)
    notes = ("" if note is None else str(note) for note in (row.criteria, row.group, row.depth))
    limit = f"≤ {row.limit:,}"
    return [row.title, str(row.line or ""), str(row.times), str(row.prompt), shared, limit, *notes]


def _saving(found: Report) -> list[list[str]]:
    """What the flow would read as written; in percent, where both are known."""
    saved, whole = found.saved.limit.constant, found.as_written.limit.constant
    if saved == 0:
        return []
    share = f": sharing saves {saved / whole:.0%}" if saved is not None and whole else ""
    return [["as written", f"{found.as_written}{share}"]]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, without white space at the ends of lines."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )

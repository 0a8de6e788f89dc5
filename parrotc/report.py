"""What a plan will do, before it runs: its calls, their tokens, what they share, how deep it is.

Numbers are exact where the program decides them and symbolic where inputs do: `44 + |part|`. Given
the inputs they become numbers, as far as no model and no function of the user's has a say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from parrotc.driver import Compilation
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.ops import Flow, Module
from parrotc.ir.symbolic import Most, Symbolic
from parrotc.ir.totals import Total
from parrotc.ir.types import Json
from parrotc.passes.remark import Remark
from parrotc.passes.table import PIPELINES, run
from parrotc.prompts import Prompt, Prompts, counter
from parrotc.sizes import Functions, sizes


@dataclass(frozen=True)
class Figure:
    """A count: as far as it is known, and at most. A run may have less of what is not `certain`:
    of an `if` the larger arm counts, of a loop all rounds, of a retry every attempt."""

    exact: Symbolic | Most
    limit: Symbolic | Most
    certain: bool = True

    def __str__(self) -> str:
        """For people: thousands apart, means and limits marked as such, else the polynomial."""
        mark = "" if self.certain else "≤ "
        if self.exact.constant is not None:
            return mark + _number(self.exact.constant)
        if self.limit.constant is not None:
            return f"≤ {_number(self.limit.constant)}"
        return f"{mark}{self.exact}"

    @property
    def number(self) -> float | None:
        """What it is in every run; None if that depends on something."""
        return self.exact.constant if self.certain else None


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
    depth: Figure


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
    generated: Figure
    total: Figure
    remarks: tuple[str, ...]


def report(
    compilation: Compilation, name: str, args: Mapping[str, Json], functions: Functions
) -> Report:
    """The figures of a flow. `functions` finds those of the standard library, by target."""
    plain = run(compilation.module, compilation.target, PIPELINES["O0"], verify_each=False)
    before = Measured(compilation, plain, name, args, functions)
    after = Measured(compilation, compilation.optimised, name, args, functions)
    analysis, prompts = after.prompts.analysis, after.prompts
    return Report(
        flow=name,
        place=str(prompts.flow.span or ""),
        rows=tuple(after.row(prompt) for prompt in prompts.prompts),
        calls=after.figure(analysis.calls),
        depth=after.figure(analysis.depth),
        width=after.figure(analysis.width),
        read=after.figure(prompts.read()),
        as_written=before.figure(before.prompts.read()),
        generated=after.figure(prompts.generated()),
        total=after.figure(prompts.spent()),
        remarks=tuple(
            str(remark)
            for remark in compilation.remarks
            if _is_of(remark, compilation.module, name)
        ),
    )


def _is_of(remark: Remark, module: Module, name: str) -> bool:
    """Whether a remark is about this flow: its place is behind the flow's and no later one's."""
    place = remark.span
    if place is None:
        return True
    before = [
        (flow.span.start, flow.name)
        for flow in module.flows
        if flow.span and flow.span.source is place.source and flow.span.start <= place.start
    ]
    return not before or max(before)[1] == name


class Measured:
    """A flow of one module, with the sizes that inputs give its values."""

    def __init__(
        self,
        compilation: Compilation,
        module: Module,
        name: str,
        args: Mapping[str, Json],
        functions: Functions,
    ) -> None:
        flow = next(flow for flow in module.flows if flow.name == name)
        target = compilation.target
        self._sizes = sizes(module, flow, target, args, counter(module, target), functions)
        self.prompts = Prompts(compilation.module, module, flow, target, self._sizes.taken)

    def figure(self, count: Symbolic | Most | Total, *, certain: bool = True) -> Figure:
        if isinstance(count, Total):
            return self.figure(count.most, certain=count.is_exact)
        exact = count.at(self._sizes.known)
        limit = exact.at(self._sizes.limits)
        return Figure(self.prompts.labelled(exact), self.prompts.labelled(limit), certain)

    def row(self, prompt: Prompt) -> CallRow:
        op, analysis = prompt.op, self.prompts.analysis
        return CallRow(
            title=prompt.title,
            line=op.span.position()[0] if op.span else None,
            times=self.figure(analysis.times(op), certain=analysis.is_certain(op)),
            constant=self.prompts.constant(prompt),
            prompt=self.figure(analysis.tokens(op.context)),
            shared=self.figure(self.prompts.shared(prompt)),
            limit=op.max_tokens,
            criteria=str(op.note("criteria") or ""),
            group=op.note("group"),
            depth=self.figure(analysis.before(op)),
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


_CODES = {"calls": "E0511", "tokens": "E0512", "depth": "E0513"}


def _gate(name: str, figure: Figure, limit: int, flow: Flow) -> Diagnostic | None:
    value = figure.limit.constant
    if value is None:
        return Diagnostic(
            "E0514",
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
        ["generated", f"at most {str(found.generated).removeprefix('≤ ')}"],
    ]
    parts = [f"flow {found.flow}  ({found.place})", aligned(table), aligned(totals)]
    if found.remarks:
        parts.append("\n".join(["remarks", *(f"  {remark}" for remark in found.remarks)]))
    return "\n\n".join(parts)


def _cells(row: CallRow) -> list[str]:
    shared = "–" if str(row.shared) == "0" else str(row.shared)
    notes = (row.criteria, "" if row.group is None else str(row.group), str(row.depth))
    limit = f"≤ {row.limit:,}"
    return [row.title, str(row.line or ""), str(row.times), str(row.prompt), shared, limit, *notes]


def _saving(found: Report) -> list[list[str]]:
    """What the flow would read as written; in percent, where both are known."""
    if str(found.as_written) == str(found.read):
        return []
    read, whole = found.read.limit.constant, found.as_written.limit.constant
    share = f": sharing saves {1 - read / whole:.0%}" if read is not None and whole else ""
    return [["as written", f"{found.as_written}{share}"]]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, without white space at the ends of lines."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )

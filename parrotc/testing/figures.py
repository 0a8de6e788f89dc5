"""`plan(flow)` in a test: the figures of `parrotc plan`, and comparing them.

A figure that depends on inputs lies between two numbers. A comparison with it holds, or does not,
where that is so for every number between; else it is the test's mistake to ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from parrotc.check.program import FlowSymbol, Program
from parrotc.driver import Compilation, compile_module
from parrotc.ir.ops import Fill, Open
from parrotc.ir.symbolic import Most, Symbolic
from parrotc.ir.types import Json
from parrotc.lower.flow import lower_flow
from parrotc.lower.module import assemble, lower
from parrotc.prompts import Prompt
from parrotc.report import Figure, Measured
from parrotc.runtime.errors import Failed
from parrotc.sizes import Functions
from parrotc.syntax import tree
from parrotc.targets import ModelOverrides


@dataclass
class Plans:
    """The plans of a program's flows, each compiled when a test first asks for it."""

    program: Program
    models: ModelOverrides
    functions: Functions
    _compiled: Compilation | None = None

    def of(self, flow: FlowSymbol, inputs: Mapping[str, Json]) -> Json:
        """A `plan of a flow` (see `check/plans.py`). Raises `CompileError`."""
        compilation = self._compilation(flow)
        shared = Measured(compilation, compilation.optimised, flow.name, inputs, self.functions)
        # calls are those of semantic functions, each of which may generate several times
        written = Measured(compilation, compilation.module, flow.name, inputs, self.functions)
        analysis = written.prompts.analysis
        calls = written.figure(analysis.calls)
        figures = {
            "calls": calls,
            "calls_max": Figure(calls.limit, calls.limit),
            "depth": written.figure(analysis.depth),
            "width": written.figure(analysis.width),
            "tokens": shared.figure(shared.prompts.spent()),
        }
        prefixes = _prefixes(shared).items()
        return {
            **{name: as_data(figure) for name, figure in figures.items()},
            " prefixes": [{" function": name, " prefix": prefix} for name, prefix in prefixes],
        }

    def _compilation(self, flow: FlowSymbol) -> Compilation:
        known = self._compiled and {flow.name for flow in self._compiled.module.flows}
        if self._compiled is None or flow.name not in (known or ()):
            module = lower(self.program)
            if flow.name not in {one.name for one in module.flows}:  # it is imported
                module = assemble(self.program, [lower_flow(self.program, flow)])
            sources = self.program.sources()
            self._compiled = compile_module(module, sources=sources, models=self.models)
        return self._compiled


def prefix(plan: Json, function: str) -> Json:
    """The longest prefix that calls of a function share; none for one that is not called."""
    for entry in plan[" prefixes"]:
        if entry[" function"] == function:
            return entry[" prefix"]
    return {"scope": "call", "tokens": as_data(Figure(Symbolic(), Symbolic()))}


def _prefixes(found: Measured) -> dict[str, Json]:
    """By function: what its calls share, where most is shared."""
    best: dict[str, tuple[float, Json]] = {}
    for prompt in found.prompts.prompts:
        tokens = found.figure(found.prompts.shared(prompt))
        length = _least(tokens.exact)
        if prompt.function not in best or length > best[prompt.function][0]:
            scope = _scope(found, prompt)
            best[prompt.function] = length, {"scope": scope, "tokens": as_data(tokens)}
    return {function: held for function, (_, held) in best.items()}


def _scope(found: Measured, prompt: Prompt) -> str:
    """Who shares a prompt's prefix: every run (`global`), one `run`, or nobody but the `call`."""
    if prompt.fork is None:
        return "call"
    maker = found.prompts.analysis.producer(prompt.fork)
    if isinstance(maker, Open):
        return "global"
    noted = maker.note("scope") if isinstance(maker, Fill) else None
    return str(noted or "run")


# --- figures as data ---


def as_data(figure: Figure) -> Json:
    """A `figure of a plan` (see `check/plans.py`)."""
    if figure.number is not None:
        return {" least": figure.number, " most": figure.number, " formula": str(figure)}
    least = _least(figure.exact) if figure.certain else 0
    most = figure.limit.constant
    return {" least": least, " most": most, " formula": str(figure)}


def _least(count: Symbolic | Most) -> float:
    """What a count is at least: its constant part, since no size is less than nought."""
    options = count.options if isinstance(count, Most) else (count,)
    return max(_constant_part(option) for option in options)


def _constant_part(count: Symbolic) -> float:
    if any(coefficient < 0 for _, coefficient in count.terms):
        return 0
    return sum(coefficient for monomial, coefficient in count.terms if not monomial)


# --- comparing ---


def compare(node: tree.Binary, left: Json, right: Json) -> bool:
    """Whether the comparison holds whatever the inputs. Raises `Failed` where they decide it."""
    holds = _holds(node.op, _range(left), _range(right))
    if holds is not None:
        return holds
    asked = [
        f"`{side.span.text()}` is {value[' formula']}"
        for side, value in ((node.left, left), (node.right, right))
        if isinstance(value, dict) and value[" least"] != value[" most"]
    ]
    raise Failed(
        "E0803",
        f"whether `{node.span.text()}` is not decided before the flow runs",
        notes=tuple(asked),
        help="give the inputs, as in `plan(flow, name=value)`, or compare with a bound",
    )


def _range(value: Json) -> tuple[float, float]:
    """The least and the most that a side can be."""
    if not isinstance(value, dict):
        return value, value
    most = value[" most"]
    return value[" least"], float("inf") if most is None else most


def _holds(op: str, left: tuple[float, float], right: tuple[float, float]) -> bool | None:
    """Whether `left op right` for all numbers in both ranges; None where that differs."""
    match op:
        case "<":
            return _decided(left[1] < right[0], left[0] >= right[1])
        case "<=":
            return _decided(left[1] <= right[0], left[0] > right[1])
        case ">" | ">=":
            return _holds(op.replace(">", "<"), right, left)
        case "==":
            apart = left[1] < right[0] or right[1] < left[0]
            return _decided(left[0] == left[1] == right[0] == right[1], apart)
    equal = _holds("==", left, right)
    return None if equal is None else not equal


def _decided(always: bool, never: bool) -> bool | None:
    return True if always else False if never else None

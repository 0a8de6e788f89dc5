"""The only place where passes are known: what they are called, and in which order they run.

    run(module, target, PIPELINES["O1"])

Level O0 makes a program runnable and nothing else; O1 shares, merges, moves and annotates, with
every generation seeing exactly the tokens it sees at O0.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parrotc.ir.collector import paused
from parrotc.ir.diagnostic import CompileError
from parrotc.ir.ops import Module
from parrotc.ir.printer import print_module
from parrotc.ir.verify import verify
from parrotc.passes.apply_template import apply_template
from parrotc.passes.cse import cse
from parrotc.passes.dce import dce
from parrotc.passes.effects import effects
from parrotc.passes.estimate import estimate
from parrotc.passes.fold_constants import fold_constants
from parrotc.passes.group import group
from parrotc.passes.hoist import hoist
from parrotc.passes.lifetimes import lifetimes
from parrotc.passes.lower_calls import lower_calls
from parrotc.passes.prefill_split import prefill_split
from parrotc.passes.propagate_criteria import propagate_criteria
from parrotc.passes.remark import Remarks
from parrotc.passes.split_prefixes import split_prefixes
from parrotc.passes.stream_through import stream_through
from parrotc.passes.target import Target
from parrotc.passes.tokenize import tokenize

Pass = Callable[[Module, Target, Remarks], Module]
Observer = Callable[[str, Module], None]  # the pass that has just run, and what it gave


@dataclass(frozen=True, slots=True)
class PassInfo:
    """One row: the pass, and the first line of its story."""

    run: Pass
    summary: str


def _row(run: Pass) -> PassInfo:
    story = sys.modules[run.__module__].__doc__ or ""
    return PassInfo(run, story.partition("\n")[0])


PASSES: dict[str, PassInfo] = {
    "effects": _row(effects),
    "fold-constants": _row(fold_constants),
    "lower-calls": _row(lower_calls),
    "apply-template": _row(apply_template),
    "tokenize": _row(tokenize),
    "dce": _row(dce),
    "cse": _row(cse),
    "hoist": _row(hoist),
    "split-prefixes": _row(split_prefixes),
    "propagate-criteria": _row(propagate_criteria),
    "group": _row(group),
    "prefill-split": _row(prefill_split),
    "stream-through": _row(stream_through),
    "estimate": _row(estimate),
    "lifetimes": _row(lifetimes),
}  # fmt: skip

ORDER = (
    "effects", "fold-constants", "lower-calls", "apply-template", "tokenize", "dce", "cse",
    "hoist", "split-prefixes", "cse", "propagate-criteria", "group", "prefill-split",
    "stream-through", "estimate", "lifetimes",
)  # fmt: skip
OFF = ("stream-through",)  # what does not win: see `benchmarks/pipelining.py`

PIPELINES: dict[str, tuple[str, ...]] = {
    "O0": ("effects", "lower-calls", "apply-template", "tokenize", "lifetimes"),
    "O1": tuple(name for name in ORDER if name not in OFF),
}


def with_pass(name: str, pipeline: str = "O0") -> tuple[str, ...]:
    """A pipeline and one more pass, at the place that it has among all."""
    wanted = {name, *PIPELINES[pipeline]}
    names = [one for one in ORDER if one in wanted]
    return tuple(dict.fromkeys(names)) if pipeline == "O0" else tuple(names)


@dataclass(slots=True)
class _Run:
    """What `run` was asked for."""

    target: Target
    names: Sequence[str]
    verify_each: bool
    after: Observer | None
    remarks: Remarks
    times: list[tuple[str, float]] | None
    crash_folder: Callable[[], Path] | None

    def step(self, name: str, module: Module) -> Module:
        start = time.process_time()
        try:
            result = PASSES[name].run(module, self.target, self.remarks)
            if self.verify_each:
                verify(result)
        except CompileError:
            raise  # the user's mistake, not ours
        except Exception as error:
            error.add_note(f"in pass `{name}` of {', '.join(self.names)}")
            if self.crash_folder is not None:
                error.add_note(f"replay: {write_reproducer(module, name, self.crash_folder())}")
            raise
        if self.times is not None:
            self.times.append((name, time.process_time() - start))
        if self.after is not None:
            self.after(name, result)
        return result


def run(
    module: Module,
    target: Target,
    names: Sequence[str],
    *,
    verify_each: bool = True,
    after: Observer | None = None,
    remarks: Remarks | None = None,
    times: list[tuple[str, float]] | None = None,
    crash_folder: Callable[[], Path] | None = None,
) -> Module:
    """Run the named passes in order, verify after each, and tell `after` what each one gave.

    `remarks` gets what the passes remark, `times` the seconds of each. If a pass raises or gives a
    broken module, the module before it is written to the folder that `crash_folder` gives, with the
    command that replays it on the first line. Raises `KeyError` for an unknown name, `InvalidIR`,
    naming the pass, for a broken module, and `CompileError` for a mistake that only a pass can see.
    """
    for name in names:
        PASSES[name]  # an unknown name is told before anything runs
    found: Remarks = [] if remarks is None else remarks
    work = _Run(target, names, verify_each, after, found, times, crash_folder)
    with paused():
        if verify_each:
            verify(module)
        for name in names:
            module = work.step(name, module)
    return module


def write_reproducer(module: Module, name: str, folder: Path) -> str:
    """Write the module that a pass failed on; the command that runs the pass on it again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module.name}-{name}.pir"
    command = f"parrotc opt {path} --pass {name}"
    path.write_text(f"// {command}\n{print_module(module)}", "utf-8")
    return command

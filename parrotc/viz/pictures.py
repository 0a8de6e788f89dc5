"""The pictures of a flow at several levels of optimisation, from the module as it was written."""

from collections.abc import Sequence

from parrotc.ir.ops import Module
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import Target
from parrotc.viz.graph import Picture, picture

LEVELS = {"O0": "as written", "O1": "optimised"}


def pictures(
    written: Module, name: str, target: Target, levels: Sequence[str] = tuple(LEVELS)
) -> list[Picture]:
    """One for each level."""
    drawn = []
    for level in levels:
        module = run(written, target, PIPELINES[level], verify_each=False)
        flow = next(flow for flow in module.flows if flow.name == name)
        drawn.append(picture(f"{name}, {LEVELS[level]}", written, module, flow, target))
    return drawn

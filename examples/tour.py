"""The whole pipeline on one small program, stage by stage, each as text. Run it:

    python examples/tour.py

Nothing here needs a model: the reference engine answers at once, and makes no sense.
"""

from pathlib import Path

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.driver import compile_source
from parrotc.ir.evaluate import evaluate
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.lower import lower
from parrotc.passes.table import PIPELINES, run
from parrotc.program import LoadedProgram, standard_function
from parrotc.report import as_text, report
from parrotc.runtime.plan import Plan
from parrotc.syntax.dump import dump
from parrotc.syntax.parse import parse
from parrotc.targets import ModelOverrides, overridden, targets

PROGRAM = """
pfunc name(thing: str) -> str:
    system "You name things in one word."
    user "A name for {{thing}}, please."
    assistant "{{gen max_tokens=4}}"

flow names(things: list[str]) -> list[str]:
    return [name(thing) for thing in things]
"""
REFERENCE = ModelOverrides(engine="reference")
THINGS = ["a boat", "a cat"]


def show(title: str, text: str) -> None:
    print(f"--- {title}\n{text.strip()}\n")


# 1. Text becomes a tree; every mistake in it would be a diagnostic.
source = Source("names.pfn", PROGRAM)
tree, mistakes = parse(source)
show("1. the tree", dump(tree))

# 2. Checking gives every name its meaning and every expression its type.
program, findings = check(source, file_loader())
show("2. the findings", "\n".join(d.render() for d in [*mistakes, *findings]) or "none")

# 3. Lowering gives a module. A prompt's state is a value: filling it makes the next one.
module = overridden(lower(program), REFERENCE)
show("3. the module, as written", print_module(module))

# 4. Passes are functions from module to module. What both calls read is now outside the map.
target = targets(module)
optimised = run(module, target, PIPELINES["O1"])
show("4. the module, optimised", print_module(optimised))

# 5. They change what is computed, never what is meant: the reference meaning says so.
results = [
    evaluate(each, "names", {"things": THINGS}, target=target, natives={})
    for each in (module, optimised)
]
assert results[0].result == results[1].result
show("5. tokens filled, before and after", f"{results[0].filled} and {results[1].filled}")

# 6. The plan is data: the same program gives the same bytes, and any changed byte is found.
compilation = compile_source(source, models=REFERENCE)
plan = Plan.from_json(compilation.plan.to_json())
show("6. the plan", as_text(report(compilation, "names", {"things": THINGS}, standard_function)))

# 7. An engine runs it: calls start when what they need is there, and share what they can.
with LoadedProgram(plan, folder=Path()) as running:
    show("7. the result", str(running.names(things=THINGS)))

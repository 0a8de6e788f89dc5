"""A chain: each call reads what the one before gave, and nobody waits in between."""

from parrot import P

vm = P.VirtualMachine()

PARTS = ["A boat left the harbour.", "A cat saw it go.", "Then it rained."]


@P.semantic_function()
def refine(draft: P.Input, part: P.Input, better: P.Output(P.SamplingConfig(max_gen_length=32))):
    """A summary so far: {{draft}}
    Add what is new here: {{part}}
    Summary: {{better}}"""


def main():
    draft = P.variable(name="draft", content="(nothing)")
    for part in PARTS:
        draft = refine(draft, part)
    print(draft.get(P.PerformanceCriteria.THROUGHPUT))


vm.run(main)

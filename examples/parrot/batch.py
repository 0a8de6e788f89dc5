"""Calls that are sent together; their outputs are variables that were there before."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function()
def point(topic: P.Input, text: P.Output(P.SamplingConfig(max_gen_length=24))):
    """One thing to know about {{topic}}: {{text}}"""


@P.semantic_function()
def conclude(first: P.Input, second: P.Input, end: P.Output(P.SamplingConfig(max_gen_length=24))):
    """{{first}}
    {{second}}
    So: {{end}}"""


async def main():
    first, second, end = P.variable("first"), P.variable("second"), P.variable("end")
    vm.set_batch()
    conclude(first, second, end=end)  # before what it reads: a batch may come in any order
    point("sails", text=first)
    point("masts", text=second)
    await vm.submit_batch()
    print(await end.aget(P.PerformanceCriteria.THROUGHPUT))


vm.run(main)

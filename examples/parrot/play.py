"""A diamond, with a `get` in the middle: two writers, one who joins what they wrote."""

from parrot import P

vm = P.VirtualMachine()

SCENE = P.SamplingConfig(max_gen_length=32)


@P.semantic_function()
def outline(topic: P.Input, plot: P.Output(SCENE)):
    """A play about {{topic}}. Its plot in one sentence: {{plot}}"""


@P.semantic_function()
def act(plot: P.Input, number: int, text: P.Output(SCENE)):
    """The plot of a play: {{plot}}
    Act {{number}}: {{text}}"""


@P.semantic_function()
def review(first: P.Input, second: P.Input, words: P.Output(SCENE)):
    """Act 1: {{first}}
    Act 2: {{second}}
    A review in one sentence: {{words}}"""


def main():
    plot = outline("a lost parrot")
    print("plot:", plot.get())
    first, second = act(plot, 1), act(plot, 2)
    print("review:", review(first, second).get())
    print("act 1:", first.content)


vm.run(main)

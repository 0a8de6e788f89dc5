"""Two outputs of one call, with the chat template of a model."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function(conversation_template=P.vicuna_template)
def tell(
    topic: P.Input,
    joke: P.Output(P.SamplingConfig(max_gen_length=32)),
    why: P.Output(P.SamplingConfig(max_gen_length=24)),
):
    """Tell a joke about {{topic}}. {{joke}} Why is it funny? {{why}}"""


def main():
    joke, why = tell("parrots")
    print("why:", why.get())
    print("joke:", joke.get())


vm.run(main)

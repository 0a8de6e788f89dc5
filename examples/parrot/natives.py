"""Python functions between calls."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function()
def joke(topic: P.Input, text: P.Output(P.SamplingConfig(max_gen_length=24))):
    """Tell a joke about {{topic}}: {{text}}"""


@P.native_function()
def framed(text: P.Input, frame: P.Output):
    frame.set(f"--- {text} ---")


@P.native_function(timeout=5)
def both(first: P.Input, second: P.Input) -> P.Output:
    return first + "\n" + second


def main():
    print(both(framed(joke("parrots")), framed(joke("cats"))).get())


vm.run(main)

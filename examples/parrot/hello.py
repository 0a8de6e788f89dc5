"""One call."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function()
def greet(name: P.Input, greeting: P.Output(P.SamplingConfig(max_gen_length=24, stop_str="\n"))):
    """Write a short greeting to {{name}}.
    Greeting:{{greeting}}"""


def main():
    print(greet("Ada").get())


vm.run(main)

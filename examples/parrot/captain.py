"""Ten calls in turn, each with two outputs and an input between them."""

from parrot import P

vm = P.VirtualMachine()

play = vm.import_function("play", "prompts")


def main():
    for number in range(10):
        ready, reply = play(question=f"Where is island number {number}?")
        print("READY" in ready.get(), reply.get())


vm.run(main)

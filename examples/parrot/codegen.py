"""Code, cut where its fence ends."""

from parrot import P

vm = P.VirtualMachine()

write_code = vm.import_function("write_code", "prompts")


def main():
    print(write_code(requirement="Write a function for the greatest common divisor.").get())


vm.run(main, timeit=False)

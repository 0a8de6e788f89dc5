"""A function that another module has."""

from parrot import P

vm = P.VirtualMachine()

shell = vm.import_function("shell", "prompts")


def main():
    for command in ("pwd", "ls -l"):
        print(shell(command=command).get())


vm.run(main)

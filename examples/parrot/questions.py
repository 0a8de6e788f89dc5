"""Questions that come in one by one."""

import parrot as P

vm = P.VirtualMachine(mode="release")

answer = vm.import_function(function_name="answer", module_path="prompts")


def main(questions):
    for question in questions:
        print(f"Q: {question}\nA: {answer(question).get()}")


vm.run(main, args=[["Who wrote Faust?", "What is a jib?"]])

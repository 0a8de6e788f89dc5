"""A program of several files: written, tested by a Python function, reviewed and written again."""

from parrotc import assistant, flow, native, pfunc, user
from parrotc.stdlib.code import File, code, fenced, files, program, review, write


@native("app.sandbox:run_tests")
def run_tests(files: list[str]) -> str: ...


@pfunc
def shorten_code(source: str) -> str:
    user("""
        Make this code shorter. Reply with code only.

        {{source}}
    """)
    assistant("{{gen max_tokens=400}}")


@flow
def build(task: str, rounds: int = 2) -> str:
    made = write(task, rounds)
    short: list[File] = [File(path=f.path, text=code(shorten_code(f.text))) for f in made]
    return fenced(short) + "\n" + run_tests([f.text for f in short])


@flow
def build_tested(task: str, rounds: int = 2) -> list[File]:
    made = files(program(task))
    for round in range(rounds):
        verdict = review(f"{task}\nTests: {run_tests([f.text for f in made])}", made)
        if verdict.approved:
            break
        made = files(fenced(made) + program(task, fenced(made), verdict.comments))
    return made

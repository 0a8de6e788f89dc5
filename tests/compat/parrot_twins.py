"""Four programs of `examples/`, written in Parrot's words."""

from typing import Any

from parrotc.compat.parrot import P
from parrotc.stdlib.text import chunk
from parrotc.stdlib.vote import majority

STYLE = "You summarise faithfully, add no facts, and write plain prose."


def config(tokens: int, **more: Any) -> P.SamplingConfig:
    return P.SamplingConfig(max_gen_length=tokens, **more)


@P.native_function()
def bullets(items: list[str], text: P.Output):
    text.set("\n".join(f"- {item}" for item in items))


@P.semantic_function(conversation_template=P.ModelTemplate(STYLE))
def digest(part: P.Input, note: P.Output(config(160, stop_str="\n\n"))):
    """
    Summarise this passage in at most three sentences.

    {{part}}
    {{note}}
    """


@P.semantic_function(conversation_template=P.ModelTemplate(STYLE))
def merge(notes: P.Input, summary: P.Output(config(300))):
    """
    Merge the partial summaries below into one paragraph.
    {{notes}}
    {{summary}}
    """


def map_reduce(vm: P.VirtualMachine, doc: str, size: int) -> str:
    notes = [digest(part) for part in chunk(doc, size)]
    return merge(bullets(notes)).get()


@P.semantic_function()
def open_summary(text: P.Input, words: int, summary: P.Output(config(200))):
    """
    Write a summary of the text below in at most {{words}} words.

    {{text}}

    SUMMARY:
    {{summary}}
    """


@P.semantic_function()
def refined(draft: P.Input, text: P.Input, words: int, summary: P.Output(config(200))):
    """
    Here is a summary so far:
    {{draft}}

    Improve it using the new text below, if the text adds anything.
    Stay under {{words}} words.

    {{text}}

    SUMMARY:
    {{summary}}
    """


def refine(vm: P.VirtualMachine, doc: str, words: int) -> str:
    first, *rest = chunk(doc, 2000)
    draft = open_summary(first, words)
    for text in rest:
        draft = refined(draft, text, words)
    return draft.get()


@P.semantic_function()
def solve(
    problem: P.Input,
    work: P.Output(config(400, temperature=0.8, stop_str="ANSWER:", n=5)),
    answer: P.Output(config(16, stop_str="\n", n=5)),
):
    """
    {{problem}}

    Think step by step.
    {{work}}
    ANSWER:
    {{answer}}
    """


def vote(vm: P.VirtualMachine, problem: str, n: int) -> str:
    _, answer = solve(problem)
    assert len(answer.get()) == n
    return majority(answer.get())


@P.native_function()
def tested(files: list[str], log: P.Output):
    from app.sandbox import run_tests

    log.set(run_tests(files))


def code_review(vm: P.VirtualMachine, task: str) -> list[str]:
    """Typed prompts are `@pfunc`s of a module; the program that calls them is Parrot's."""
    import code_review as prompts

    design = vm.import_function("design", "code_review").with_(model=prompts.large)
    review = vm.import_function("review", "code_review").with_(model=prompts.large)
    write = vm.import_function("write", "code_review")
    revise = vm.import_function("revise", "code_review")
    files = design(task).get()
    sources = [write(task, files, one) for one in files]
    for _ in range(3):
        verdict = review(task, sources, tested(sources))
        if verdict.get().approved:
            break
        sources = [revise(source, verdict) for source in sources]
    return [source.get() for source in sources]

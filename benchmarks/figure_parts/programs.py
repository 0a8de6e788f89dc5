"""The programs of the figures, and inputs of the lengths that they had: a byte is a token.

Prompts are those of Parrot's artifact in shape: what comes first, what is shared, how long it is.
"""

from random import Random

LETTERS = "abcdefghijklmnopqrstuvwxyz      "


def words(random: Random, tokens: int) -> str:
    """A text of so many tokens that begins like no other."""
    return "".join(random.choices(LETTERS, k=tokens - 1)) + "."


def system_prompt(name: str, tokens: int) -> str:
    """A constant text, the same in every run."""
    return words(Random(name), tokens)


def chain(output: int) -> str:
    """A summary that is refined with one part after another."""
    return f'''
pfunc begin(part: str) -> str:
    system "{system_prompt("begin", 20)}"
    user "{{{{part}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

pfunc refine(part: str, summary: str) -> str:
    system "{system_prompt("refine", 100)}"
    user:
        "{{{{summary}}}}"
        "{{{{part}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

flow chain(first: str, rest: list[str]) -> str:
    summary = begin(first)
    for part in rest:
        summary = refine(part, summary)
    return summary
'''


def map_reduce(output: int) -> str:
    """A summary of the summaries of all parts."""
    return f'''
pfunc digest(part: str) -> str:
    system "{system_prompt("digest", 20)}"
    user "{{{{part}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

pfunc merge(notes: list[str]) -> str:
    system "{system_prompt("merge", 40)}"
    user "{{{{notes | join}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

flow map_reduce(parts: list[str]) -> str:
    return merge([digest(part) for part in parts])
'''


def chat(output: int) -> str:
    """One turn of a conversation, which is answered with `output` tokens."""
    return f"""
pfunc say{output}(message: str) -> str:
    user "{{{{message}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

flow chat{output}(message: str) -> str:
    return say{output}(message)
"""


def assistant(name: str, prompt: int, output: int) -> str:
    """An application that is a system prompt of `prompt` tokens."""
    return f'''
pfunc ask_{name}(query: str) -> str:
    system "{system_prompt(name, prompt)}"
    user "{{{{query}}}}"
    assistant "{{{{gen max_tokens={output}}}}}"

flow {name}(query: str) -> str:
    return ask_{name}(query)
'''


def agents(rounds: int) -> str:
    """An architect designs, a coder writes each file; then in each round a reviewer comments on
    each file and a reviser writes it again, and all of them read the whole project."""
    return f'''
pfunc design(task: str) -> str:
    system "{system_prompt("architect", 300)}"
    user "{{{{task}}}}"
    assistant "{{{{gen max_tokens=400}}}}"

pfunc code(task: str, plan: str, file: str) -> str:
    system "{system_prompt("coder", 300)}"
    user:
        "{{{{task}}}}"
        "{{{{plan}}}}"
    user "{{{{file}}}}"
    assistant "{{{{gen max_tokens=350}}}}"

pfunc review(task: str, plan: str, codes: list[str], file: str) -> str:
    system "{system_prompt("reviewer", 300)}"
    user:
        "{{{{task}}}}"
        "{{{{plan}}}}"
        "{{{{codes | join}}}}"
    user "{{{{file}}}}"
    assistant "{{{{gen max_tokens=100}}}}"

pfunc revise(task: str, plan: str, codes: list[str], file: str, note: str) -> str:
    system "{system_prompt("reviser", 300)}"
    user:
        "{{{{task}}}}"
        "{{{{plan}}}}"
        "{{{{codes | join}}}}"
    user:
        "{{{{file}}}}"
        "{{{{note}}}}"
    assistant "{{{{gen max_tokens=350}}}}"

flow agents(task: str, files: list[str]) -> list[str]:
    plan = design(task)
    codes = [code(task, plan, file) for file in files]
    for turn in range({rounds}):
        notes = [review(task, plan, codes, file) for file in files]
        codes = [revise(task, plan, codes, file, note) for file, note in zip(files, notes)]
    return codes
'''

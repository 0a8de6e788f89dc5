"""Architect -> coders (parallel) -> reviewer -> revisers, at most three rounds."""

from typing import Annotated

from pydantic import BaseModel, Field

from parrotc import assistant, flow, model, native, pfunc, system, user

small = model.openai("qwen2.5-7b-instruct")
large = model.openai("qwen2.5-72b-instruct", fallback=[small])


class File(BaseModel):
    path: Annotated[str, Field(pattern=r"[a-z_]+\.py")]
    purpose: str = Field(description="one sentence")


class Review(BaseModel):
    approved: bool
    comments: list[str]


@native("app.sandbox:run_tests")
def run_tests(files: list[str]) -> str: ...


@pfunc
def design(task: str) -> list[File]:
    system("You are a software architect.")
    user("Split this task into at most four Python files: {{task}}")
    assistant("{{gen max_tokens=400}}")


@pfunc
def write(task: str, files: list[File], mine: File) -> str:
    system("You are an expert programmer. Reply with code only.")
    with user:
        "Task: {{task}}\nThe files are:"
        for f in files:
            "- {{f.path}}: {{f.purpose}}"
        "Write {{mine.path}} completely."
    assistant("""
        ```python
        {{gen max_tokens=1500, stop="```"}}
    """)


@pfunc
def review(task: str, sources: list[str], log: str) -> Review:
    system("You are a careful code reviewer.")
    user("""
        Task: {{task}}
        {{sources | numbered}}
        Test log:
        {{log}}
    """)
    assistant("{{gen max_tokens=600}}")


@pfunc
def revise(source: str, review: Review) -> str:
    system("You are an expert programmer. Reply with code only.")
    user("""
        {{source}}

        Address each comment:
        {{review.comments | numbered}}
    """)
    assistant("{{gen max_tokens=1500}}")


@flow(deadline="120s")
def build(task: str) -> list[str]:
    files = design.with_(model=large)(task)
    sources = [write(task, files, f) for f in files]
    for round in range(3):
        verdict = review.with_(model=large)(task, sources, run_tests(sources))
        if verdict.approved:
            break
        sources = [revise(s, verdict) for s in sources]
    return sources

"""Two endpoints: a large model behind an OpenAI-compatible server, and a small one standing by."""

from typing import Annotated

from pydantic import BaseModel, Field

from parrotc import assistant, env, flow, model, pfunc, system, user

small = model.builtin("smollm2-135m-instruct")
large = model.openai(
    "qwen2.5-7b-instruct",
    base_url=env("LLM_URL"),
    retries=1,
    timeout="30s",
    budget_requests=200,
    fallback=[small],
)


class Action(BaseModel):
    who: str
    what: Annotated[str, "one sentence, an order"]
    urgent: bool


@pfunc(model=large)
def actions(minutes: str) -> Annotated[list[Action], Field(max_length=5)]:
    system("You read the minutes of meetings.")
    user("""
        Who is to do what? List at most five actions.

        {{minutes}}
        """)


@pfunc(model=large)
def remind(minutes: str, action: Action) -> str:
    system("You read the minutes of meetings.")
    with user:
        "{{minutes}}"
        "Remind {{action.who}} of this in one friendly sentence: {{action.what}}"
    assistant("{{gen max_tokens=60}}")


@flow
def reminders(minutes: str) -> list[str]:
    return [remind(minutes, action) for action in actions(minutes) if action.urgent]

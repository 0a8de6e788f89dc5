"""Enum output, a calibrated score, and a cheap-to-dear cascade."""

from enum import Enum
from typing import NamedTuple

from parrotc import Scored, assistant, flow, model, pfunc, system, user


class Topic(Enum):
    BILLING = "payments, invoices, refunds"
    TECH = "errors, outages, how-to"
    OTHER = ""


class Classified(NamedTuple):
    reason: str
    topic: Scored[Topic]


tiny = model.openai("qwen2.5-1.5b-instruct")
large = model.openai("qwen2.5-32b-instruct")


@pfunc
def classify(mail: str) -> Classified:
    with system:
        "Classify the customer's mail."
        for t in Topic:
            "{{t.name}}: {{t.doc}}"
    user("{{mail}}")
    assistant('Because{{gen reason, max_tokens=40, stop="."}}. Topic: {{gen topic}}')


@flow
def triage(mail: str, floor: float = 0.8) -> Topic:
    c = classify.with_(model=tiny)(mail)
    if c.topic.p < floor:
        c = classify.with_(model=large)(mail)
    return c.topic.value

"""Facts from a letter, as a list of them or as a record, both checked against the letter."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from parrotc import assistant, flow, pfunc, system, user
from parrotc.stdlib.extract import Fact, Wanted, extract, unfounded


@flow
def facts(letter: str) -> list[Fact]:
    wanted: list[Wanted] = [
        Wanted(name="writer", about="the name of the person who signed"),
        Wanted(name="sum", about="the money that is owed", kind="number"),
        Wanted(name="due", about="the day by which it must be paid", kind="date", required=False),
    ]
    return extract(letter, wanted, rounds=2)


@dataclass
class Invoice:
    writer: Annotated[str, Field(max_length=60)]
    sum: Annotated[float, Field(ge=0)]
    items: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(max_length=4, description="what was bought, word for word"),
    ]


@pfunc
def read_invoice(letter: str, wrong: list[str]) -> Invoice:
    system("You copy data from letters. You add nothing.")
    with user:
        "{{letter}}"
        if len(wrong) > 0:
            "Your last answer was wrong:"
            "{{wrong | bullets}}"
    assistant("{{gen max_tokens=300}}")


@flow
def invoice(letter: str, rounds: int = 3) -> Invoice:
    found = read_invoice(letter, [])
    for again in range(1, rounds):
        wrong = unfounded(found, letter)
        if len(wrong) == 0:
            break
        found = read_invoice(letter, wrong)
    return found

"""A record that a flow makes is one of the class that the flow declares, in both front ends."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import parrotc

PFN = """
class Mark:
    of: int

class Card:
    name: str
    mark: Mark?

flow one(x: str) -> Card:
    card = {mark: {of: 2}, name: x}
    return card

flow many(x: str) -> list[Card]:
    card = {name: x, mark: None}
    cards = [card, {name: "b", mark: None}]
    return cards

flow nested(x: str) -> (first: Card?, all: list[list[Card]]):
    card = {name: x, mark: {of: 3}}
    both = {first: card, all: [[card]]}
    return both

flow either(x: str, short: bool) -> Card:
    card = {name: x, mark: {of: 4}}
    if short:
        return card
    else:
        other = {name: x + x, mark: card.mark}
        return other

flow maybe(x: str, here: bool) -> Card?:
    card = {name: x, mark: {of: 5}} if here else None
    return card

flow sure(x: str) -> list[Card?]:
    card = {name: x, mark: {of: 6}}
    cards = [card]
    return cards

flow same(card: Card) -> Card:
    return card

flow passed(x: str) -> Card:
    card = {name: x, mark: None}
    back = same(card)
    return back
"""

PYTHON = """
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel

from parrotc import flow


class Mark(BaseModel):
    of: int


@dataclass(frozen=True)
class Card:
    name: str
    mark: Mark | None


class Both(NamedTuple):
    first: Card | None
    all: list[list[Card]]


@flow
def one(x: str) -> Card:
    card = {"mark": {"of": 2}, "name": x}
    return card


@flow
def many(x: str) -> list[Card]:
    card = {"name": x, "mark": None}
    cards = [card, {"name": "b", "mark": None}]
    return cards


@flow
def nested(x: str) -> Both:
    card = {"name": x, "mark": {"of": 3}}
    both = {"first": card, "all": [[card]]}
    return both


@flow
def either(x: str, short: bool) -> Card:
    card = {"name": x, "mark": {"of": 4}}
    if short:
        return card
    else:
        other = {"name": x + x, "mark": card.mark}
        return other


@flow
def maybe(x: str, here: bool) -> Card | None:
    card = {"name": x, "mark": {"of": 5}} if here else None
    return card


@flow
def sure(x: str) -> list[Card | None]:
    card = {"name": x, "mark": {"of": 6}}
    cards = [card]
    return cards


@flow
def same(card: Card) -> Card:
    return card


@flow
def passed(x: str) -> Card:
    card = {"name": x, "mark": None}
    back = same(card)
    return back
"""


@pytest.fixture
def in_pfn(tmp_path: Path) -> Any:
    (tmp_path / "cards.pfn").write_text(PFN)
    return parrotc.compile(tmp_path / "cards.pfn", engine="reference")


@pytest.fixture
def in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "cards.py").write_text(PYTHON)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("cards")
    del sys.modules["cards"]


def programs(in_pfn: Any, in_python: ModuleType) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """The class of a card in each front end, and how a flow is called there."""
    program = in_pfn
    yield program.one(x="").__class__, lambda name, **args: getattr(program, name)(**args)

    def call(name: str, **args: Any) -> Any:
        return getattr(in_python, name).compile(engine="reference")(**args)

    yield in_python.Card, call


def test_a_record_is_of_the_class_that_is_declared(in_pfn: Any, in_python: ModuleType) -> None:
    for card, call in programs(in_pfn, in_python):
        assert card.__name__ == "Card"
        one = call("one", x="a")
        mark = type(one.mark)
        assert mark.__name__ == "Mark"
        assert one == card(name="a", mark=mark(of=2))
        assert call("many", x="a") == [card(name="a", mark=None), card(name="b", mark=None)]
        nested = call("nested", x="a")
        assert nested.first == card(name="a", mark=mark(of=3))
        assert nested.all == [[nested.first]]
        for short, name in ((True, "a"), (False, "aa")):
            assert call("either", x="a", short=short) == card(name=name, mark=mark(of=4))
        assert call("maybe", x="a", here=True) == card(name="a", mark=mark(of=5))
        assert call("maybe", x="a", here=False) is None
        assert call("sure", x="a") == [card(name="a", mark=mark(of=6))]
        assert call("passed", x="a") == card(name="a", mark=None)

"""The names that a segment's plan has for what is wanted of it, and who is told of each.

    Names("result", {"first": "a", "second": "b"})     # of a call with two outputs

Values that became one have one name, so whoever wants any of them is told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parrotc.runtime.openrun import Tell
from parrotc.runtime.steps import Apply, Block
from parrotc.runtime.variables import TextSink


@dataclass(frozen=True, slots=True)
class Names:
    """The name of one result, and those of its fields if the flow puts it together of them."""

    whole: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def all(self) -> set[str]:
        return {self.whole, *self.fields.values()}


class Told(NamedTuple):
    """Who is told of a value, and of its text while it is generated."""

    value: Tell
    text: TextSink


def names_of(block: Block) -> tuple[Names, ...]:
    """Those of the values in the record that a segment's flow gives, but for the last one."""
    records = {
        step.results[0]: step
        for step in block.steps
        if isinstance(step, Apply) and step.function == "record"
    }
    (result,) = block.yields
    return tuple(_names(name, records.get(name)) for name in records[result].args[:-1])


def _names(name: str, record: Apply | None) -> Names:
    if record is None:
        return Names(name)
    return Names(name, dict(zip(record.attrs["names"], record.args, strict=True)))


def by_name(
    names: Sequence[Names], wholes: Sequence[Told], parts: Sequence[Mapping[str, Told]]
) -> tuple[dict[str, Tell], dict[str, TextSink]]:
    """Who is told the value of each name, and who its text. `parts` are of the fields of each."""
    pairs = [(one.whole, whole) for one, whole in zip(names, wholes, strict=True)]
    for one, fields in zip(names, parts, strict=True):
        pairs += [(one.fields[name], told) for name, told in fields.items() if name in one.fields]
    return (
        _merged((name, told.value) for name, told in pairs),
        _merged((name, told.text) for name, told in pairs),
    )


def _merged(
    pairs: Iterable[tuple[str, Callable[[Any], None]]],
) -> dict[str, Callable[[Any], None]]:
    """One callback for each name."""
    held: dict[str, list[Callable[[Any], None]]] = {}
    for name, callback in pairs:
        held.setdefault(name, []).append(callback)
    return {n: found[0] if len(found) == 1 else _all_of(found) for n, found in held.items()}


def _all_of(callbacks: Sequence[Callable[[Any], None]]) -> Callable[[Any], None]:
    def call(given: Any) -> None:
        for callback in callbacks:
            callback(given)

    return call

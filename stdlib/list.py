"""Lists of any type of item (`std.list`). Order is kept wherever it means something."""

import json
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def top_k(items: Sequence[T], marks: Sequence[float], k: int) -> list[T]:
    """The `k` items with the highest marks, best first; equal marks keep their order.

    Raises `ValueError` if there is not one mark for each item.
    """
    if len(items) != len(marks):
        raise ValueError(f"{len(items)} items have {len(marks)} marks")
    order = sorted(range(len(items)), key=lambda at: -marks[at])
    return [items[at] for at in order[: max(k, 0)]]


def best(items: Sequence[T], marks: Sequence[float]) -> T:
    """The item with the highest mark; among equals, the first. Raises `ValueError` if empty."""
    if not items:
        raise ValueError("there is no item to choose from")
    return top_k(items, marks, 1)[0]


def first(items: Sequence[T]) -> T | None:
    return items[0] if items else None


def unique(items: Sequence[T]) -> list[T]:
    """Each item once, where it first occurs. Items are compared as JSON data."""
    seen: set[str] = set()
    kept = []
    for item in items:
        key = json.dumps(item, sort_keys=True)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


def flatten(lists: Sequence[Sequence[T]]) -> list[T]:
    """The items of all the lists, one list after the other."""
    return [item for items in lists for item in items]


def reversed_(items: Sequence[T]) -> list[T]:
    return list(reversed(items))


def batches(items: Sequence[T], size: int) -> list[list[T]]:
    """Lists of `size` items, in order; the last may be shorter. Raises `ValueError` below 1."""
    if size < 1:
        raise ValueError(f"a batch has at least 1 item, not {size}")
    return [list(items[at : at + size]) for at in range(0, len(items), size)]


def some(items: Sequence[T | None]) -> list[T]:
    """The items that are not `None`."""
    return [item for item in items if item is not None]

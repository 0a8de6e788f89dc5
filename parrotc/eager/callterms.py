"""What one eager call is asked beside its inputs.

    digest(part, seed=3, timeout=5)
    digest.with_(seed=3, timeout=5)(part)        # the same

An input comes first: where a function has a parameter that is called `seed`, the keyword gives
that, and `with_` says how the call draws.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from parrotc.python.policies import seconds_of

NAMES = ("seed", "timeout")


@dataclass(frozen=True, slots=True)
class CallTerms:
    """`seed` makes it draw as a run of it alone with that seed does, whatever is called around it.
    `timeout` is in seconds, from when it begins to run."""

    seed: int | None = None
    timeout: float | None = None


PLAIN = CallTerms()


def with_terms(
    name: str, params: Collection[str], given: Mapping[str, Any], terms: CallTerms = PLAIN
) -> tuple[dict[str, Any], CallTerms]:
    """The inputs among the keywords of a call of `name`, and the terms that the others say.

    Raises `TypeError` for a term that is said twice, or has no such value.
    """
    inputs = dict(given)
    for term in NAMES:
        if term in inputs and term not in params:
            if getattr(terms, term) is not None:
                raise TypeError(f"`{name}` got two values for `{term}`: `with_` says it too")
            terms = said(terms, term, inputs.pop(term), f"of `{name}`")
    return inputs, terms


def said(terms: CallTerms, term: str, value: Any, whose: str) -> CallTerms:
    """The terms, and this one. None says nothing. Raises `TypeError`."""
    if value is None:
        return terms
    if term == "seed":
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"`seed` {whose} is a whole number, not {value!r:.80}")
        return replace(terms, seed=value)
    seconds = seconds_of(value)
    if seconds is None or not 0 < seconds < inf:
        raise TypeError(f'`timeout` {whose} is a number of seconds, or "300ms", "2s", "5m", "1h"')
    return replace(terms, timeout=seconds)

"""Numbers and durations, as every front end reads them."""

import math

from parrotc.ir.source import Span
from parrotc.syntax.problem import Problem, problem

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
"""How long one of each unit of a duration is."""


def is_too_large(value: int | float) -> bool:
    """Whether a number is one that no value of the language can be."""
    return not -(2**63) <= value < 2**63 if isinstance(value, int) else math.isinf(value)


def too_large(span: Span) -> Problem:
    return problem(
        span.source,
        (span.start, span.end),
        "E0115",
        "this number is too large",
        note="an int has 64 bits, a float is a double",
    )

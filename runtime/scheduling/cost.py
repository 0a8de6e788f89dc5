"""What a step of an engine costs, by the bytes that it must read.

    step seconds = overhead + (weights + kv_bytes · tokens held) / bandwidth

Decoding is bound by memory bandwidth, so that is what a promise of seconds a token limits: the
tokens that may be held by what runs together. A prefix that several of them share is read once.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class EngineCost:
    """The default is a model of 8 billion parameters in 16 bits on an A100 of 80 GB.

    Raises `ValueError` for a bandwidth or a size of keys and values that is not above 0.
    """

    bandwidth: float = 2.0e12  # bytes a second
    weights: float = 16e9  # bytes
    kv_bytes: float = 131_072  # keys and values of one token
    overhead: float = 2e-3  # seconds a step
    fill: float = 60e-6  # seconds a prompt token

    def __post_init__(self) -> None:
        if min(self.bandwidth, self.kv_bytes) <= 0 or min(self.weights, self.overhead) < 0:
            raise ValueError("bandwidth and kv_bytes must be above 0, nothing may be negative")

    def step(self, tokens: float) -> float:
        """Seconds of a step over `tokens` held tokens."""
        return self.overhead + (self.weights + self.kv_bytes * tokens) / self.bandwidth

    def tokens_within(self, seconds: float) -> float:
        """How many tokens may be held so that a step takes no longer than `seconds`."""
        if seconds == inf:
            return inf
        spare = self.bandwidth * (seconds - self.overhead) - self.weights
        return max(0.0, spare / self.kv_bytes)

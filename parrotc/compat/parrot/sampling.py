"""How outputs are drawn and how soon they are wanted, in Parrot's names."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from parrotc.lower.template import Draw
from parrotc.runtime.core import payloads
from parrotc.runtime.engines.protocol import Sampling


class SamplingConfig(payloads.SamplingConfig):
    """How an output is drawn: greedily, if nothing is said. Functions may share one: it is frozen.

    With `n`, each output of the function is a list of so many texts, drawn after one prompt.
    """

    n: int = Field(default=1, ge=1, le=1000)

    @property
    def draw(self) -> Draw:
        return Draw(self.sampling, self.seed)

    @property
    def is_in_plan(self) -> bool:
        """Whether a plan says all of it. What it has no words for is asked of each run."""
        own = self.sampling
        said = Sampling(
            max_tokens=own.max_tokens,
            temperature=own.temperature,
            top_p=own.top_p,
            top_k=own.top_k,
            min_p=own.min_p,
            stop=own.stop,
        )
        return said == own


class PerformanceCriteria(StrEnum):
    """What `get` asks for. The time to the first token and that between tokens are kinds of
    latency: somebody reads along."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    TTFT = "ttft"
    TPOT = "tpot"

    @property
    def goal(self) -> str:
        """`latency` or `throughput`."""
        return "throughput" if self is PerformanceCriteria.THROUGHPUT else "latency"


@dataclass(frozen=True)
class DispatchAnnotation:
    """Where Parrot is told to send a call. Accepted, and not needed: schedulers here know how many
    requests and tokens each engine takes, and deduce what is urgent."""

    requests_num_upperbound: int = 256
    tokens_num_upperbound: int = 2048
    ddl_requirement: float = 0.0

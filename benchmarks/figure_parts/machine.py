"""The machine of the figures: LLaMA on A100s of 80 GB, as costs of a simulated engine.

    engine = SimulatedEngine(cost=LLAMA_13B.cost(), limits=LLAMA_13B.limits())

Every constant is here. Shapes are those of LLaMA (arXiv:2302.13971, table 2), in 16 bits, with keys
and values for every head; the GPU's numbers are those of NVIDIA's data sheet (A100 80 GB SXM). What
part of them is reached is assumed, the same for every system. A step takes

    overhead + max(weights / bandwidth, 2 · parameters · tokens / flops) + keys, values / bandwidth

Attention's own multiplications are left out: they would make long prompts dearer to fill.
"""

from dataclasses import dataclass

from parrotc.runtime.engines.simulated import CostModel, Limits
from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.engines import EngineSpec

BANDWIDTH = 0.8 * 2.039e12  # bytes a second
FLOPS = 0.6 * 312e12  # a second
MEMORY = 0.9 * 80e9  # bytes, as vLLM's `gpu_memory_utilization` has it
OVERHEAD = 2e-3  # seconds a step
ROWS = 256  # generations at the same time: vLLM's default `max_num_seqs`
CHUNK = 2048  # tokens filled in one step: its default `max_num_batched_tokens`
PLANNED = 0.9  # part of the memory that the scheduler gives away; answers may be long


class Roofline(CostModel):
    """Tokens that are generated are computed as those that are filled: `spare` covers both."""

    __slots__ = ()

    def seconds(self, filled: int, rows: int, read: int) -> float:
        return super().seconds(filled + rows, rows, read)


@dataclass(frozen=True)
class Model:
    name: str
    parameters: float
    layers: int
    width: int

    @property
    def weights(self) -> float:
        """Bytes."""
        return 2 * self.parameters

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of a token."""
        return 2 * 2 * self.layers * self.width

    @property
    def tokens(self) -> int:
        """That fit beside the weights."""
        return int((MEMORY - self.weights) / self.kv_bytes)

    @property
    def _token(self) -> float:
        """Seconds to compute a token where the weights are at hand."""
        return 2 * self.parameters / FLOPS

    def cost(self) -> CostModel:
        reading = self.weights / BANDWIDTH
        return Roofline(
            step=OVERHEAD + reading,
            fill=self._token,
            row=0.0,
            read=self.kv_bytes / BANDWIDTH,
            spare=int(reading / self._token),
        )

    def limits(self) -> Limits:
        return Limits(rows=ROWS, chunk=CHUNK, tokens=self.tokens)

    def spec(self, name: str, *, shares: bool, caches: bool) -> EngineSpec:
        """What the scheduler is told of an engine with this model."""
        return EngineSpec(
            name=name,
            model=self.name,
            slots=ROWS,
            tokens=int(PLANNED * self.tokens),
            shares=shares,
            caches=caches,
            cost=EngineCost(
                bandwidth=BANDWIDTH,
                weights=self.weights,
                kv_bytes=self.kv_bytes,
                overhead=OVERHEAD,
                fill=self._token,
            ),
        )


LLAMA_7B = Model("LLaMA-7B", 6.7e9, 32, 4096)
LLAMA_13B = Model("LLaMA-13B", 13.0e9, 40, 5120)

"""What the scheduler is told of an engine: what the engine says of itself, else the usual."""

from parrotc.runtime.engines.protocol import EngineInfo, Speed
from parrotc.runtime.scheduling.cost import EngineCost
from parrotc.runtime.scheduling.engines import EngineSpec, Role

SLOTS = 64
TOKENS = 400_000
LEAST = 1e-12  # seconds: less cannot be told from nothing


def spec_of(name: str, model: str, info: EngineInfo, role: Role = Role.MIXED) -> EngineSpec:
    """The engine `name` of `model` that answers a ping with `info`."""
    ability = info.ability
    return EngineSpec(
        name=name,
        model=model,
        role=role,
        slots=ability.slots or SLOTS,
        tokens=ability.tokens or max(TOKENS, info.context_length),
        context_length=info.context_length,
        shares=ability.shares,
        caches=ability.caches,
        resumes=ability.resumes,
        cost=EngineCost() if ability.speed is None else _cost(ability.speed),
    )


def _cost(speed: Speed) -> EngineCost:
    """Measured in seconds, so a token's size is as good as any: 1 byte. The weights, which every
    step reads, are in `step` already."""
    return EngineCost(
        bandwidth=1 / max(speed.read, LEAST),
        weights=0.0,
        kv_bytes=1.0,
        overhead=speed.step,
        fill=speed.fill,
    )

"""The notes that passes leave on ops, and how those of two ops become those of one.

| note | on | written by | means |
|---|---|---|---|
| `asked` | gen | lower-calls | the criterion that `with (criteria=…)` names for the call |
| `deadline`, `ttft`, `tpot`, `cache_ttl` | gen | lower-calls | what the call asks for, in seconds |
| `determinism` | gen, region | effects | `greedy`, `seeded` or `sampled` |
| `effect` | region | effects | `idempotent` or `effectful`, if it holds such a native |
| `criteria` | gen, map | propagate-criteria | what to be quick at: `latency` or `throughput` |
| `due` | gen | propagate-criteria | seconds after the start by which it should be done |
| `group`, `order` | gen | group | whom it is awaited with; its place among them |
| `early` | open, fill | prefill-split | worth filling before the prompt is whole |
| `stream` | fill | stream-through | its first part may be filled while it is generated |
| `ahead` | fold | both | the fills of the next round may begin while one runs |
| `tokens`, `scope` | fill | estimate | constant tokens; shared by `global`, `run` or `call` |
| `cost`, `rank`, `depth` | gen | estimate | seconds; seconds to the end; generations before it |
| `next_use` | fill, prefix | lifetimes | generations between two uses |
| `pin` | fill | lifetimes | tokens that need not be filled again if it is kept |
"""

from parrotc.ir.ops import Op
from parrotc.ir.types import Json

STRICTNESS = ("throughput", "latency")
SECONDS = ("deadline", "ttft", "tpot", "due")


def stricter(a: str | None, b: str | None) -> str | None:
    """The join of the lattice: nothing asked < throughput < latency."""
    return max((one for one in (a, b) if one), key=STRICTNESS.index, default=None)


def merged(kept: Op, gone: Op) -> Op:
    """`kept`, standing for `gone` too: it owes each of them what was asked of it."""
    notes: dict[str, Json] = {}
    for name in SECONDS:
        notes[name] = _least(kept.note(name), gone.note(name))
    for name in ("asked", "criteria"):
        notes[name] = stricter(kept.note(name), gone.note(name))
    lifetimes = (kept.note("cache_ttl"), gone.note("cache_ttl"))
    notes["cache_ttl"] = None if None in lifetimes else min(lifetimes)
    return kept.with_notes(**notes)


def _least(a: Json, b: Json) -> Json:
    return min((one for one in (a, b) if one is not None), default=None)

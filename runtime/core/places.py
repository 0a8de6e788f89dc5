"""Where a token sequence is: under which name an engine knows it."""

import asyncio
from dataclasses import dataclass

from parrotc.runtime.engines.protocol import ContextId


@dataclass(eq=False, slots=True)
class Place:
    """A context of an engine. `fill` goes on while it is computed, early if `is_early`: then it has
    only the room that nobody else needs. A `doomed` one is freed when its fill has ended."""

    id: ContextId
    fill: "asyncio.Task[None] | None" = None
    is_early: bool = False
    is_doomed: bool = False

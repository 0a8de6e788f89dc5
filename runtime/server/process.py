"""What the process of a server is told of itself, so that nobody waits for its housekeeping.

    async with responsive(lambda: open_.are_none):
        …                                               # serve

*Garbage.* What requests leave behind goes at once, by counting references: hardly anything is in
cycles. But whenever Python searches for cycles it looks at what is alive, in the middle of some
request: with a thousand calls under way that takes 50 ms, in which nobody is answered. So it does
not search by itself here. It is told to in a quiet moment, and once a minute if there is none.

*Threads.* Work beside the loop (a template that is compiled, a large body that is read) holds the
interpreter as long as the loop does, 5 ms at a time, and the loop has to wait its turn each time it
wakes. With shorter turns it waits less; they cost nothing where only the loop has work.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

LOOK = 1.0  # seconds between two looks whether it is quiet
LATEST = 60.0  # seconds without a quiet moment until garbage is searched for all the same
SOME = 10_000  # objects more than there were: fewer are not worth a search
TURN = 0.0005  # seconds that a thread may go on when another one waits


@asynccontextmanager
async def responsive(is_quiet: Callable[[], bool]) -> AsyncIterator[None]:
    """Inside, the process is a server that has loaded what it needs; then it is as it was."""
    turn = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    gc.collect()
    gc.freeze()  # what is there now stays: no search looks at it again
    gc.disable()
    searching = asyncio.create_task(_search(is_quiet))
    try:
        yield
    finally:
        searching.cancel()
        with suppress(asyncio.CancelledError):
            await searching
        gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(turn)


async def _search(is_quiet: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    last = loop.time()
    while True:
        await asyncio.sleep(LOOK)
        if gc.get_count()[0] >= SOME and (is_quiet() or loop.time() - last >= LATEST):
            gc.collect()
            last = loop.time()

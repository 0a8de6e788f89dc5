"""Python's collector of cycles, held back where much is built and nothing of it is a cycle.

It runs whenever so many objects are new, and looks at all there are: on large programs half of the
time of a parse or a pass goes into finding nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside. Whoever has turned it off already keeps it off."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

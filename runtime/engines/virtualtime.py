"""An event loop on virtual time: it does not wait, it moves its clock. Hours pass in seconds.

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(simulate())         # `asyncio.sleep(3600)` returns at once, an hour later

Whenever nothing is ready, the clock jumps to the next timer, so a program that only sleeps and
waits for its own tasks runs in the order and at the times it would have. Work outside the loop,
in threads or processes, goes on in real time: a timer may overtake it.
"""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: notes instead that its time has come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  # seconds since the loop was made

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0.0:
            return super().select(timeout)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0.0)
        if not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

"""An engine with short names for what is asked of it."""

from parrotc.runtime.engines.protocol import (
    Engine,
    FillRequest,
    Finished,
    GenerateRequest,
    Sampling,
)

PROMPT = tuple(range(20, 60))


class Driver:
    """An engine with short names for requests, and new context ids."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._last = 0

    def new(self) -> int:
        self._last += 1
        return self._last

    async def fill(self, ids, parent=None) -> int:
        context = self.new()
        await self.engine.fill([FillRequest(context, parent, tuple(ids))])
        return context

    async def run(self, parent, constraint=None, **sampling) -> tuple[int, Finished]:
        """A whole generation; the pieces must be its text."""
        context = self.new()
        request = GenerateRequest(context, parent, Sampling(**sampling), constraint)
        text = ""
        async for item in self.engine.generate(request):
            if isinstance(item, Finished):
                assert item.text == text
                return context, item
            assert item.text, "a piece is never empty"
            text += item.text
        raise AssertionError("a generation ends with Finished")

    async def is_empty(self) -> bool:
        info = await self.engine.ping()
        return (info.contexts, info.cached_tokens, info.running, info.queued) == (0, 0, 0, 0)

"""An endpoint among the engines of a core: it has asked again itself, and has room for all."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from parrotc.runtime.core.base import Core
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.engines.openai.engine import TextEngine
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
    new_context,
)


class Speaker:
    """Fails as an endpoint does that was asked often enough."""

    name = "speaker"

    def __init__(self) -> None:
        self.asked = 0

    async def answer(self, *_: Any) -> AsyncGenerator[Piece | Finished, None]:
        self.asked += 1
        raise EngineError("internal", "it answers 500 (asked 3 times)")
        yield Piece("")

    async def close(self) -> None:
        pass


async def test_an_endpoint_has_asked_again_itself() -> None:
    core, speaker = Core(), Speaker()
    await core.add_engine("e", "m", Opened(TextEngine([speaker])))
    client = core.engine("m")
    for times in range(1, 8):  # nor does it go out of service
        prompt = new_context()
        await client.fill([FillRequest(prompt, None, tuple(map(ord, "hello")))])
        with pytest.raises(EngineError) as raised:
            await anext(client.generate(GenerateRequest(new_context(), prompt, Sampling())))
        assert str(raised.value) == "it answers 500 (asked 3 times)"
        assert speaker.asked == times
    await core.close()


async def test_long_texts_for_an_endpoint_wait_for_nobody() -> None:
    core = Core()
    await core.add_engine("e", "m", Opened(TextEngine([Speaker()])))
    (view,) = core.engines()
    assert view.spec.cost.tokens_within(0.001) > 1e8
    assert view.spec.slots > 1000 and not view.spec.resumes
    await core.close()

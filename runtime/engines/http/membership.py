"""An engine's place in a core: it registers, says that it lives, and comes back when forgotten.

    async with member_of(CoreAddress(port=9000), about, url="http://localhost:9001"):
        …                                       # the core sends its work meanwhile

A core that cannot be reached is asked again, less and less often: engines and core may be started
in any order, and either may be restarted. The engine serves whoever asks all the while.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from parrotc.runtime.engines.config import CoreAddress

_log = logging.getLogger(__name__)

BEAT = 5.0  # seconds between two heartbeats
_ANSWER = aiohttp.ClientTimeout(total=10.0)
_LONGEST_PAUSE = 30.0  # seconds between two attempts at a core that is not there

Json = Any


class Forgotten(Exception):
    """The core does not know the engine."""


@asynccontextmanager
async def member_of(
    core: CoreAddress, about: Mapping[str, Json], url: str, *, beat: float = BEAT
) -> AsyncIterator[None]:
    """Be an engine of `core` until the block ends. `about` is the engine's config, `url` where it
    listens. Never fails: what goes wrong is logged, and tried again."""
    async with aiohttp.ClientSession(core.url, headers=core.headers, timeout=_ANSWER) as http:
        member = _Member(http, {"engine_config": about, "url": url}, beat)
        keeping = asyncio.create_task(member.keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            await member.leave()


class _Member:
    def __init__(self, http: aiohttp.ClientSession, about: Json, beat: float) -> None:
        self._http = http
        self._about = about
        self._beat = beat
        self._id = ""  # what the core calls the engine, as long as it knows it

    async def keep(self) -> None:
        """Register and beat, for ever."""
        pause = self._beat
        while True:
            try:
                await self._beat_once()
                pause = self._beat
            except Forgotten:
                self._id = ""
                continue
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _log.warning("the core at %s: %s", self._http._base_url, error or "no answer")
                pause = min(_LONGEST_PAUSE, pause * 1.5)
            await asyncio.sleep(pause)

    async def _beat_once(self) -> None:
        if not self._id:
            answer = await self._post("/register_engine", self._about)
            self._id = str(answer["engine_id"])
            _log.info("registered as %s", self._id)
        else:
            await self._post("/engine_heartbeat", {"engine_id": self._id})

    async def leave(self) -> None:
        """Say goodbye, if the core hears it."""
        if self._id:
            with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, Forgotten):
                await self._post("/unregister_engine", {"engine_id": self._id})

    async def _post(self, path: str, body: Json) -> Json:
        async with self._http.post(path, json=body) as response:
            if response.status == 404 and self._id:
                raise Forgotten
            answer = await response.json(content_type=None)
            if response.status != 200:
                raise ValueError(f"{path} was refused: {_reason(answer)}")
            return answer


def _reason(answer: Json) -> str:
    match answer:
        case {"error": {"message": str(message)}}:
            return message
    return "it does not say why"

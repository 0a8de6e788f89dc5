"""One of several callers of an engine, with context names of its own.

client = router.client(tenant="acme", salt="acme")
await client.fill([FillRequest(1, None, ids)])       # nobody else's 1
await client.close()                                  # and all of it is gone
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from parrotc.runtime.engines.protocol import (
    ContextId,
    Engine,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Hints,
    Hurrying,
    Piece,
    new_context,
)


class RouterClient:
    """Implements `Engine` and `Hurrying`. What requests do not say of themselves, `tenant`,
    `application` and `salt`, is said for them."""

    def __init__(self, engine: Engine, *, tenant: str, application: str, salt: str) -> None:
        self.tokenizer: Any = engine.tokenizer
        self._engine = engine
        self._tenant, self._application, self._salt = tenant, application, salt
        self._names: dict[ContextId, ContextId] = {}  # ours to the engine's
        self._is_closed = False

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self._require_open()
        made: dict[ContextId, ContextId] = {}
        asked = []
        for request in requests:
            if request.context in self._names or request.context in made:
                raise EngineError("invalid", f"context {request.context} exists already")
            parent = request.parent
            if parent is not None:
                parent = made[parent] if parent in made else self._get(parent)
            made[request.context] = new_context()
            salt = request.salt or self._salt
            asked.append(replace(request, context=made[request.context], parent=parent, salt=salt))
        await self._engine.fill(asked)
        await self._keep(made)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        self._require_open()
        if request.context in self._names:
            raise EngineError("invalid", f"context {request.context} exists already")
        name, parent = new_context(), self._get(request.parent)
        asked = replace(request, context=name, parent=parent, hints=self._hints(request.hints))
        async with aclosing(self._engine.generate(asked)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, Finished):
                    await self._keep({request.context: name})
                yield item

    def _hints(self, said: Hints) -> Hints:
        tenant, application = said.tenant or self._tenant, said.application or self._application
        if (tenant, application) == (said.tenant, said.application):
            return said  # as those of every run: a copy for each call would be waste
        return replace(said, tenant=tenant, application=application)

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        names = [self._get(context) for context in contexts]
        for context in contexts:
            del self._names[context]
        await self._engine.free(names, dead)

    async def hurry(self, contexts: Sequence[ContextId]) -> None:
        if isinstance(self._engine, Hurrying):
            known = [self._names[context] for context in contexts if context in self._names]
            await self._engine.hurry(known)

    async def ping(self) -> EngineInfo:
        return await self._engine.ping()

    async def close(self) -> None:
        """Free all that is held here. The engine goes on for others."""
        self._is_closed = True
        names, self._names = self._names, {}
        await self._engine.free(list(names.values()))

    async def _keep(self, made: dict[ContextId, ContextId]) -> None:
        if self._is_closed:  # meanwhile
            await self._engine.free(list(made.values()))
        else:
            self._names |= made

    def _get(self, context: ContextId) -> ContextId:
        try:
            return self._names[context]
        except KeyError:
            raise EngineError("unknown_context", f"there is no context {context}") from None

    def _require_open(self) -> None:
        if self._is_closed:
            raise EngineError("cancelled", "the client is closed")

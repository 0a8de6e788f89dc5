"""The models that a core serves: each has a router over its engines.

A plan names models as its author did; `match` finds which of the served ones is meant, and never
one that reads other tokens than the plan was compiled for.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from parrotc.runtime.core.errors import Invalid, NotFound
from parrotc.runtime.core.router import Router
from parrotc.runtime.plan import ChatTemplate, Model

RETURN = 60.0  # seconds that what is begun again waits for an engine of its model


@dataclass(frozen=True, slots=True)
class ServedModel:
    """`template` is its chat template, for those who send messages."""

    name: str
    router: Router
    context_length: int
    template: ChatTemplate | None = None

    @property
    def tokenizer(self) -> Any:
        return self.router.tokenizer


class Models:
    """By name, in the order in which they came: the first is the default."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def add(self, model: ServedModel) -> None:
        self._models[model.name] = model
        self._changed.set()

    def get(self, name: str) -> ServedModel | None:
        return self._models.get(name)

    def find(self, name: str = "") -> ServedModel:
        """The model of a name, or the first. Raises `NotFound`."""
        found = self._models.get(name) if name else next(iter(self), None)
        if found is None:
            served = ", ".join(self._models) or "none yet"
            raise NotFound(f"no engine serves the model `{name}`; there are: {served}")
        return found

    def match(self, model: Model) -> ServedModel:
        """The one that a plan's model stands for. Raises `NotFound`, or `Invalid` where its
        tokenizer is another."""
        for name in (model.target, model.name, model.kind):
            if name in self._models:
                found = self._models[name]
                if found.tokenizer.fingerprint != model.fingerprint:
                    raise Invalid(
                        f"the plan was compiled for another tokenizer than that of `{name}`",
                        "compile it again for this model",
                    )
                return found
        for served in self:
            if served.tokenizer.fingerprint == model.fingerprint:
                return served
        return self.find(model.target or model.name)

    async def wait(self, model: Model, seconds: float) -> ServedModel:
        """The same, when an engine has come that serves it. Raises as `match` does."""
        return await self._when(lambda: self.match(model), seconds)

    async def named(self, name: str, seconds: float) -> ServedModel:
        """The model of a name, likewise. Raises `NotFound`."""
        return self.get(name) or await self._when(lambda: self.find(name), seconds)

    async def _when(self, find: Callable[[], ServedModel], seconds: float) -> ServedModel:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return find()
                    except NotFound:
                        self._changed.clear()
                        await self._changed.wait()
        except TimeoutError:
            return find()

"""What the runs of one program share: engines, prefixes, natives, and how templates render."""

from collections.abc import Mapping, Sequence

from parrotc.ir.source import Span
from parrotc.ir.types import Json
from parrotc.runtime.chat import Render
from parrotc.runtime.contexts import Node, Session
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.errors import Failed
from parrotc.runtime.natives import Natives
from parrotc.runtime.plan import Plan
from parrotc.runtime.prompts import Encoder, Messages, Part, Prompt
from parrotc.runtime.steps import AnyStep


class Resources:
    """Prefixes of the plan are filled once, by the first run that needs them, and kept."""

    def __init__(
        self,
        plan: Plan,
        engines: Mapping[str, Engine],
        natives: Natives,
        *,
        renders: Mapping[str, Render],
        width: int,
        max_new_tokens: int | None,
    ) -> None:
        self.plan = plan
        self.width = width
        self.max_new_tokens = max_new_tokens
        self.tokenizers: dict[str, Encoder] = {n: e.tokenizer for n, e in engines.items()}
        self._natives = natives
        self._renders = renders
        self._declared = {native.name: native for native in plan.natives}
        self._sessions = _sessions(plan, engines, width)
        self._prefixes: dict[str, Node] = {}
        for prefix in plan.prefixes:  # parents come before their children
            above = self._prefixes[prefix.parent] if prefix.parent else None
            session = self._sessions[prefix.model]
            self._prefixes[prefix.name] = Node(session, above, prefix.ids)

    def span(self, step: AnyStep) -> Span | None:
        return self.plan.span(step.span)

    def open(self, model: str, prefix: str | None) -> Prompt:
        """A prompt of `model` that has read nothing, or a prefix of the plan."""
        session = self._sessions[model]
        node = self._prefixes[prefix].take() if prefix else None
        return Prompt(model, session, self.tokenizers[model], node)

    def render(self, model: str, messages: Messages) -> Sequence[Part]:
        try:
            return self._renders[model](messages)
        except ValueError as error:
            raise Failed("E0611", f"the model `{model}`: {error}") from None

    async def call(self, name: str, args: Sequence[Json]) -> Json:
        native = self._declared[name]
        return await self._natives.call(native, self.plan.type_table[native.result], args)

    async def settle(self) -> None:
        """Wait until what runs dropped is gone from the engines."""
        for session in set(self._sessions.values()):
            await session.settle()

    async def close(self) -> None:
        """Drop the prefixes and end the workers. The engines are their owner's to close."""
        prefixes, self._prefixes = self._prefixes, {}
        for node in prefixes.values():
            node.drop()
        await self.settle()
        await self._natives.close()


def _sessions(plan: Plan, engines: Mapping[str, Engine], width: int) -> dict[str, Session]:
    """One session an engine, however many models of the program it serves."""
    by_engine: dict[int, Session] = {}
    sessions: dict[str, Session] = {}
    for model in plan.models:
        engine = engines[model.name]
        if id(engine) not in by_engine:
            by_engine[id(engine)] = Session(engine, model.context_length, width)
        sessions[model.name] = by_engine[id(engine)]
    return sessions

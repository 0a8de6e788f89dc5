"""What the runs of one program share: engines, prefixes, natives, and how templates render."""

from collections.abc import Mapping, Sequence

from parrotc.ir.source import Span
from parrotc.ir.types import Json
from parrotc.runtime.chat import Render
from parrotc.runtime.contexts import Node, Outlook, Session
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.errors import Failed
from parrotc.runtime.longtexts import LongTexts
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import NativeDecl, Plan
from parrotc.runtime.prompts import Encoder, Messages, Part, Prompt
from parrotc.runtime.starts import Start
from parrotc.runtime.steps import AnyStep
from parrotc.runtime.texts import ALPHABET, TextPrompt, TextSession, token_counter


class Resources:
    """Prefixes of the plan are filled once, by the first run that needs them, and kept."""

    def __init__(
        self,
        plan: Plan,
        engines: Mapping[str, Engine],
        natives: Caller,
        *,
        renders: Mapping[str, Render],
        width: int,
        max_new_tokens: int | None,
    ) -> None:
        self.plan = plan
        self.width = width
        self.max_new_tokens = max_new_tokens
        self.tokenizers: dict[str, Encoder] = {
            name: LongTexts(token_counter(engine.tokenizer)) for name, engine in engines.items()
        }
        self._natives = natives
        self._renders = renders
        self._declared = {native.name: native for native in plan.natives}
        self._sessions = _sessions(plan, engines, width)
        self._prefixes, self._nodes = _kept(plan, self._sessions)

    def span(self, step: AnyStep) -> Span | None:
        return self.plan.span(step.span)

    def open(self, model: str, prefix: str | None) -> Prompt:
        """A prompt of `model` that has read nothing, or a prefix of the plan."""
        session = self._sessions[model]
        node = self._prefixes[prefix] if prefix else None
        node = node and node.take()
        if isinstance(session, TextSession):
            return TextPrompt(model, session, ALPHABET, node)
        return Prompt(model, session, self.tokenizers[model], node)

    def render(self, model: str, messages: Messages) -> Sequence[Part]:
        try:
            return self._renders[model](messages)
        except ValueError as error:
            raise Failed("E0611", f"the model `{model}`: {error}") from None

    def native(self, name: str) -> NativeDecl:
        return self._declared[name]

    async def call(self, name: str, args: Sequence[Json]) -> Json:
        native = self._declared[name]
        return await self._natives.call(native, self.plan.type_table[native.result], args)

    async def settle(self) -> None:
        """Wait until what runs dropped is gone from the engines."""
        for session in set(self._sessions.values()):
            await session.settle()

    async def close(self) -> None:
        """Drop the prefixes and end the workers. The engines are their owner's to close."""
        nodes, self._nodes = self._nodes, ()
        for node in nodes:
            node.drop()
        await self.settle()
        await self._natives.close()


def _kept(
    plan: Plan, sessions: Mapping[str, Session]
) -> tuple[dict[str, Node | None], Sequence[Node]]:
    """The nodes of the prefixes, by name, and all that must be held for them. What the prefixes of
    several models begin with alike is one node if one engine serves the models."""
    roots: dict[Session, Start] = {}
    places: dict[str, Start] = {}
    for prefix in plan.prefixes:  # parents come before their children
        root = roots.setdefault(sessions[prefix.model], Start())
        above = places[prefix.parent] if prefix.parent else root
        place = places[prefix.name] = above.then(prefix.ids)
        place.expect(prefix.notes.get("next_use"))
    nodes: dict[Start | None, Node] = {}
    for session, root in roots.items():
        for place in root.below():
            parent = nodes.get(place.parent)
            nodes[place] = Node(session, parent, place.ids, Outlook(place.next_use))
    return {name: nodes.get(place) for name, place in places.items()}, tuple(nodes.values())


def _sessions(plan: Plan, engines: Mapping[str, Engine], width: int) -> dict[str, Session]:
    """One session an engine, however many models of the program it serves."""
    by_engine: dict[int, Session] = {}
    sessions: dict[str, Session] = {}
    for model in plan.models:
        engine = engines[model.name]
        if id(engine) not in by_engine:
            by_engine[id(engine)] = _session(engine, model.context_length, width)
        sessions[model.name] = by_engine[id(engine)]
    return sessions


def _session(engine: Engine, context_length: int, width: int) -> Session:
    """An endpoint that reads text says itself what is too long for it."""
    if engine.tokenizer is ALPHABET:
        return TextSession(engine, ALPHABET.context_length, width)
    return Session(engine, context_length, width)

"""Calls in this process: captured in a graph, compiled and run when a value is wanted."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from parrotc.compat.parrot.calls import Call
from parrotc.compat.parrot.functions import NativeFunction, SemanticFunction
from parrotc.compat.parrot.variables import SemanticVariable
from parrotc.eager.chat import Chat
from parrotc.eager.graph import Graph
from parrotc.eager.service import Service
from parrotc.eager.variable import Var
from parrotc.python.words import Model


class Contexts:
    """The conversations of a virtual machine: what was left for the next stateful call of each
    function, by the function's name."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: dict[str, Chat] = {}

    def take(self, function: SemanticFunction) -> Chat:
        chat = self._held.pop(function.name, None)
        if chat is not None:
            return chat
        model = function.model
        return Chat(model=Model(model.kind, model.target), service=self._service)

    def leave(self, chat: Chat, successor: str | None) -> None:
        """Keep it for `successor`, instead of what that had."""
        if successor is not None:
            self._held[successor] = chat


class LocalBackend:
    """One scope of a virtual machine: a graph. `name` is that of the program: its sampled calls
    draw as those of a flow of that name."""

    def __init__(self, service: Service, contexts: Contexts, name: str) -> None:
        self.graph = Graph(name, service=service)
        self._contexts = contexts
        self._effects: list[Var[Any]] = []

    def submit(self, call: Call) -> None:
        """Capture a call, and bind its outputs."""
        function = call.function
        criteria = function.criteria if isinstance(function, SemanticFunction) else None
        inputs = {name: self._argument(given) for name, given in call.inputs.items()}
        result = self.graph.call(function.callee, (), inputs, call.place, criteria, function.terms)
        if isinstance(function, NativeFunction):
            self._note_effect(result)
        for name, variable in call.outputs.items():
            self._bind(variable, result if len(call.outputs) == 1 else result[name])

    def take_turn(self, call: Call, successor: str | None) -> None:
        """Begin a turn of a conversation, and bind its outputs. It runs at once."""
        function = call.function
        assert isinstance(function, SemanticFunction)
        chat = self._contexts.take(function)
        inputs = {name: self._argument(given) for name, given in call.inputs.items()}
        sources = [given for given in inputs.values() if isinstance(given, Var)]
        work = chat.begin(function.callee, call.place, **inputs)
        self._contexts.leave(chat, successor)
        for name, variable in call.outputs.items():
            self._follow(work, variable, name if len(call.outputs) > 1 else "", sources)

    def input(self, variable: SemanticVariable) -> Var[Any]:
        """A variable of the graph for one that somebody will set."""
        return self.graph.variable(variable.name, variable.given)

    def run(self) -> None:
        """Begin what was captured."""
        self.graph.run()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """At the end wait for what runs; raise what failed of natives that nobody has read."""
        with self.graph:
            yield
        effects, self._effects = self._effects, []
        for effect in effects:
            effect.get()

    def _argument(self, given: Any) -> Any:
        if isinstance(given, list | tuple):
            return [self._argument(one) for one in given]
        if not isinstance(given, SemanticVariable):
            return given
        if given.held is None:
            if given.given is not None:
                return given.given
            given.bind(self.input(given))
        return given.held

    def _bind(self, variable: SemanticVariable, result: Var[Any]) -> None:
        """Let a call give a variable its value, if need be one that others read already."""
        if isinstance(variable.held, Var):
            self.graph.bind(variable.held, result)
        else:
            variable.bind(result)

    def _follow(
        self, work: "Future[Any]", variable: SemanticVariable, field: str, sources: list[Var[Any]]
    ) -> None:
        if variable.held is None:
            variable.bind(self.input(variable))
        assert isinstance(variable.held, Var)
        tell = self.graph.promise(variable.held, sources)

        def follow(done: "Future[Any]") -> None:
            failed = done.exception() if not done.cancelled() else None
            if done.cancelled() or failed is not None:
                tell(failed or RuntimeError("the turn was cancelled"))
            else:
                tell(getattr(done.result(), field) if field else done.result())

        work.add_done_callback(follow)

    def _note_effect(self, result: Var[Any]) -> None:
        """Remember a native for the end of the scope, but none that has ended well."""
        if len(self._effects) >= 1000:
            self._effects = [effect for effect in self._effects if not effect.is_ready]
        self._effects.append(result)

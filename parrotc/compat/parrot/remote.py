"""Calls on a core: one session for each virtual machine.

Calls are sent at once and nothing waits for an answer: a call that reads what another one gives is
sent when the core has named that. Native functions run here, in threads, as no code travels.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from parrotc.compat.parrot.calls import Call
from parrotc.compat.parrot.conversations import Conversation, Given
from parrotc.compat.parrot.core import Core
from parrotc.compat.parrot.functions import NativeFunction, SemanticFunction
from parrotc.compat.parrot.remotevars import VARIABLE, RemoteDraws, RemoteVariable, known
from parrotc.compat.parrot.sampling import SamplingConfig
from parrotc.compat.parrot.templates import template_of
from parrotc.compat.parrot.variables import SemanticVariable
from parrotc.ir.tokenhash import draw_key
from parrotc.lower.template import Piece, Speak
from parrotc.runtime.errors import Failed, Failure, RunError

_CALL = "/v1/semantic_call"
_NONE: Mapping[str, Any] = {}


def _as_it_is(name: str) -> str:
    return name


@dataclass(frozen=True)
class Template:
    """What a call is sent as; `name` is what a parameter of its function is called there."""

    pieces: Sequence[Piece]
    models: Sequence[str]
    model_type: str
    name: Callable[[str], str] = _as_it_is


class RemoteBackend:
    """One scope of a virtual machine on a core."""

    def __init__(self, core: Core, contexts: dict[str, Conversation]) -> None:
        """`contexts` are those of the machine: what was left for the next stateful call of each
        function, by its name."""
        self._core = core
        self._contexts = contexts
        self._sent: list[Future[Any]] = []

    def submit(self, call: Call) -> None:
        """Send a call, and bind its outputs."""
        match call.function:
            case SemanticFunction() as function:
                self._semantic(call, function)
            case NativeFunction() as function:
                self._native(call, function)
            case _:
                raise TypeError(
                    f"`{call.function.name}` was compiled, and a core takes templates; it runs in"
                    " this process: `P.VirtualMachine()` without an address"
                )

    def take_turn(self, call: Call, successor: str | None) -> None:
        """Send the next turn of a conversation, and bind its outputs."""
        function = call.function
        assert isinstance(function, SemanticFunction)
        held = self._contexts.pop(function.name, None) or Conversation.of(function)
        _require_text(function)
        turn = held.turn(function, self._inputs(call))
        outputs: dict[str, RemoteVariable] = {}
        if function.outputs:
            template = Template(turn.pieces, turn.models, turn.model_type, turn.name)
            outputs = self._call(call, function, template, turn.given)
        if successor is not None:
            self._contexts[successor] = turn.left(outputs)

    def input(self, variable: SemanticVariable) -> RemoteVariable:
        return RemoteVariable(self._core, self._created(variable))

    def run(self) -> None:
        """Calls are sent when they are made."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """At the end raise what went wrong with sending, and of natives."""
        yield
        for sent in self._sent:
            sent.result()

    # --- semantic calls ---

    def _semantic(self, call: Call, function: SemanticFunction) -> None:
        _require_text(function)
        template = Template(function.pieces, function.models, function.model_type)
        inputs = self._inputs(call)
        count = max(param.config.n for param in function.outputs)
        if count == 1:
            self._call(call, function, template, inputs)
            return
        if any(variable.held is not None for variable in call.outputs.values()):
            raise TypeError(f"`{function.name}` gives lists, and an output is a text")
        each = [self._send(call, function, template, inputs, draw=n) for n in range(count)]
        for name, variable in call.outputs.items():
            draws = [self._made(sent, name, inputs) for sent in each]
            variable.bind(RemoteDraws(self._core, draws))

    def _call(
        self,
        call: Call,
        function: SemanticFunction,
        template: "Template",
        given: Mapping[str, Given],
    ) -> dict[str, RemoteVariable]:
        """Send a call that draws once: its outputs, to which its variables are bound."""
        bound = {n: v.held for n, v in call.outputs.items() if isinstance(v.held, RemoteVariable)}
        sent = self._send(call, function, template, given, bound)
        for name, variable in call.outputs.items():
            if name not in bound:
                bound[name] = self._made(sent, name, given)
                variable.bind(bound[name])
        return bound

    def _made(
        self, sent: "Future[dict[str, str]]", name: str, given: Mapping[str, Given]
    ) -> RemoteVariable:
        return RemoteVariable(self._core, _then(sent, name), sources=_variables(given))

    def _send(
        self,
        call: Call,
        function: SemanticFunction,
        template: "Template",
        given: Mapping[str, Given],
        bound: Mapping[str, RemoteVariable] = _NONE,
        draw: int | None = None,
    ) -> "Future[dict[str, str]]":
        """The ids of the outputs, by name."""
        body: dict[str, Any] = {
            "template": template_of(template.pieces),
            "func_name": function.name,
            "models": list(template.models),
            "model_type": template.model_type,
        }
        if function.criteria is not None:
            body["output_criteria"] = function.criteria
        bound = dict(bound)  # as it is now

        async def send() -> dict[str, str]:
            parameters = [
                {"name": name, "is_output": False, **await _reference(value)}
                for name, value in given.items()
            ]
            for param in function.outputs:
                held = await _reference(bound[param.name]) if param.name in bound else {}
                config = _config(param.config, draw)
                name = template.name(param.name)
                parameters.append({"name": name, "is_output": True, "sampling_config": config})
                parameters[-1] |= held
            try:
                taken = await self._core.ask("POST", _CALL, {**body, "parameters": parameters})
            except RunError as error:
                raise RunError(call.place.explained(Failure(error.diagnostic))) from None
            ids = {one["parameter_name"]: one["var_id"] for one in taken["param_info"]}
            return {param.name: ids[template.name(param.name)] for param in function.outputs}

        return self._start(send())

    # --- native calls ---

    def _native(self, call: Call, function: NativeFunction) -> None:
        given = {name: self._given(value) for name, value in call.inputs.items()}
        made: list[RemoteVariable] = []
        filling: Future[None] = Future()
        for variable in call.outputs.values():
            if not isinstance(variable.held, RemoteVariable):
                taken = self._created(variable)
                variable.bind(RemoteVariable(self._core, taken))
            assert isinstance(variable.held, RemoteVariable)
            variable.held.filling = filling
            made.append(variable.held)
        self._start(self._fill(call, function, given, made, filling))

    async def _fill(
        self,
        call: Call,
        function: NativeFunction,
        given: Mapping[str, Any],
        made: list[RemoteVariable],
        filling: "Future[None]",
    ) -> None:
        """Run the function when its inputs are there, and set what it gives."""
        try:
            values = [await _value(value) for value in given.values()]
            async with asyncio.timeout(function.timeout):
                result = await asyncio.to_thread(function.run, *values)
            texts = list(result.values()) if isinstance(result, dict) else [result]
            for variable, text in zip(made, texts, strict=True):
                await variable.fill(text)
        except Exception as error:
            failed = _native_failed(error, call, function)
            filling.set_exception(failed)
            for variable in made:  # so that nobody waits for it
                await self._core.ask("DELETE", f"{VARIABLE}/{await known(variable.taken)}", {})
            raise failed from error
        filling.set_result(None)

    # --- variables ---

    def _created(self, variable: SemanticVariable) -> "Future[str]":
        async def create() -> str:
            body = {"var_name": variable.name}
            content = {} if variable.given is None else {"content": str(variable.given)}
            answer = await self._core.ask("POST", VARIABLE, {**body, **content})
            return str(answer["var_id"])

        return self._start(create())

    def _inputs(self, call: Call) -> dict[str, Given]:
        """The inputs of a template. Raises `RunError` E0607 for a list of draws."""
        inputs: dict[str, Given] = {}
        for name, value in call.inputs.items():
            given = self._given(value)
            if isinstance(given, RemoteDraws):
                message = f"{name}: a `str` is wanted, and `{value.name}` is a `list<str>`"
                help_ = "join the texts in a native function"
                raise RunError(Failed("E0607", message, help=help_).at(call.place.span()))
            inputs[name] = given
        return inputs

    def _given(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._given(one) for one in value]
        if not isinstance(value, SemanticVariable):
            return value
        if value.held is None:
            if value.given is not None:
                return value.given
            value.bind(self.input(value))
        return value.held

    def _start(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        if len(self._sent) >= 1000:
            self._sent = [one for one in self._sent if not one.done() or one.exception()]
        sent = self._core.start(work)
        self._sent.append(sent)
        return sent


def _require_text(function: SemanticFunction) -> None:
    """Raises `TypeError` for messages."""
    if any(isinstance(piece, Speak) for piece in function.pieces):
        raise TypeError(
            f"`{function.name}` is messages for the chat template of a model, and a core takes"
            " text: write the conversation out with `P.ConversationTemplate(…)`, as"
            " `P.vicuna_template` does, or run it in this process: `P.VirtualMachine()` without an"
            " address"
        )


def _config(config: SamplingConfig, draw: int | None) -> dict[str, Any]:
    """How an output is drawn; each of several draws has a seed of its own, if there is one."""
    said: dict[str, Any] = config.model_dump(exclude={"n"}, exclude_defaults=True)
    if draw is not None and config.seed is not None:
        said["seed"] = draw_key(config.seed, "", (draw,)) >> 1  # 63 bits, as seeds have
    return said


def _variables(given: Mapping[str, Any]) -> list[RemoteVariable]:
    return [value for value in given.values() if isinstance(value, RemoteVariable)]


async def _reference(value: Given) -> dict[str, Any]:
    if isinstance(value, RemoteVariable):
        return {"var_id": await known(value.taken)}
    return {"value": str(value)}


async def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [await _value(one) for one in value]
    return await value.value() if isinstance(value, RemoteVariable | RemoteDraws) else value


def _then(sent: "Future[dict[str, str]]", name: str) -> "Future[str]":
    """The part of what a future gives."""
    part: Future[str] = Future()

    def tell(done: "Future[dict[str, str]]") -> None:
        if done.cancelled():
            part.cancel()
        elif error := done.exception():
            part.set_exception(error)
        else:
            part.set_result(done.result()[name])

    sent.add_done_callback(tell)
    return part


def _native_failed(error: Exception, call: Call, function: NativeFunction) -> RunError:
    if isinstance(error, RunError):
        return error
    failed = Failed("E0601", f"`{function.name}` raised {type(error).__name__}: {error}")
    if isinstance(error, TimeoutError):
        late = f"`{function.name}` gave nothing within {function.timeout:g} s"
        failed = Failed("E0602", late, help="give it more time: `P.native_function(timeout=…)`")
    return RunError(call.place.explained(failed.at(None)))

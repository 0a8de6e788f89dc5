"""Calls on a core: one session for each virtual machine.

Calls are sent at once and nothing waits for an answer: a call that reads what another one gives is
sent when the core has named that. Native functions run here, in threads, as no code travels.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from parrotc.compat.parrot.calls import Call
from parrotc.compat.parrot.core import VARIABLE, Core, RemoteVariable, known
from parrotc.compat.parrot.functions import NativeFunction, SemanticFunction
from parrotc.compat.parrot.templates import template_of
from parrotc.compat.parrot.variables import SemanticVariable
from parrotc.runtime.errors import Failed, Failure, RunError

_CALL = "/v1/semantic_call"


class RemoteBackend:
    """One scope of a virtual machine on a core."""

    def __init__(self, core: Core) -> None:
        self._core = core
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
        raise TypeError(
            f"`{call.function.name}` is called statefully, and a core keeps no context for that;"
            " conversations run in this process: `P.VirtualMachine()` without an address"
        )

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
        if any(param.config.n > 1 for param in function.outputs):
            raise TypeError(f"`{function.name}` has outputs of several draws; a core draws one")
        body: dict[str, Any] = {
            "template": template_of(function.pieces),
            "func_name": function.name,
            "models": list(function.models),
            "model_type": function.model_type,
        }
        if function.criteria is not None:
            body["output_criteria"] = function.criteria
        given = {name: self._given(value) for name, value in call.inputs.items()}
        bound = {n: v.held for n, v in call.outputs.items() if isinstance(v.held, RemoteVariable)}
        sent = self._start(self._send(call, function, body, given, bound))
        for name, variable in call.outputs.items():
            if name not in bound:
                taken = _then(sent, name)
                variable.bind(RemoteVariable(self._core, taken, sources=_variables(given)))

    async def _send(
        self,
        call: Call,
        function: SemanticFunction,
        body: dict[str, Any],
        given: Mapping[str, "str | RemoteVariable"],
        bound: Mapping[str, RemoteVariable],
    ) -> dict[str, str]:
        """The ids of the outputs, by name."""
        parameters = [
            {"name": name, "is_output": False, **await _reference(value)}
            for name, value in given.items()
        ]
        for param in function.outputs:
            config = param.config.model_dump(exclude={"n"}, exclude_defaults=True)
            held = await _reference(bound[param.name]) if param.name in bound else {}
            parameters.append(
                {"name": param.name, "is_output": True, "sampling_config": config, **held}
            )
        try:
            taken = await self._core.ask("POST", _CALL, {**body, "parameters": parameters})
        except RunError as error:
            raise RunError(call.place.explained(Failure(error.diagnostic))) from None
        return {one["parameter_name"]: one["var_id"] for one in taken["param_info"]}

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


def _variables(given: Mapping[str, Any]) -> list[RemoteVariable]:
    return [value for value in given.values() if isinstance(value, RemoteVariable)]


async def _reference(value: "str | RemoteVariable") -> dict[str, str]:
    if isinstance(value, RemoteVariable):
        return {"var_id": await known(value.taken)}
    return {"value": str(value)}


async def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [await _value(one) for one in value]
    return await value.value(None) if isinstance(value, RemoteVariable) else value


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

"""The virtual machine: what a program runs on, in this process or against a core."""

import asyncio
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Protocol

from parrotc.check.report import did_you_mean
from parrotc.compat.parrot import environment
from parrotc.compat.parrot.calls import Call, in_order
from parrotc.compat.parrot.functions import BasicFunction, CompiledFunction, SemanticFunction
from parrotc.compat.parrot.parameters import Parameter
from parrotc.compat.parrot.running import given_settings
from parrotc.compat.parrot.templates import Written
from parrotc.compat.parrot.variables import Held, SemanticVariable
from parrotc.eager.library import Callee

if TYPE_CHECKING:
    from parrotc.eager.service import Service

MAIN = "main"
_LOG = logging.getLogger("parrotc.parrot")


class Backend(Protocol):
    """Where the calls of a scope run."""

    def submit(self, call: Call) -> None: ...

    def take_turn(self, call: Call, successor: str | None) -> None: ...

    def input(self, variable: SemanticVariable) -> Held: ...

    def run(self) -> None: ...

    def opened(self) -> AbstractContextManager[None]: ...


class Scope:
    """A running program: its calls go to `backend`, or into the batch that is being made."""

    def __init__(self, machine: "VirtualMachine", backend: Backend) -> None:
        self.machine = machine
        self.backend = backend
        self._batch: list[Call] | None = None

    def take(self, call: Call) -> None:
        _LOG.debug("call of %s", call.function.name)
        if self._batch is None:
            self.backend.submit(call)
            return
        for variable in call.outputs.values():
            variable.promise()
        self._batch.append(call)

    def take_turn(self, call: Call, successor: str | None) -> None:
        if self._batch is not None:
            raise RuntimeError("a stateful call is no part of a batch: its turn begins at once")
        self.backend.take_turn(call, successor)

    def begin_batch(self) -> None:
        if self._batch is not None:
            raise RuntimeError("a batch is being made already: `await vm.submit_batch()` first")
        self._batch = []

    def require_no_batch(self) -> None:
        """Raises `RuntimeError` for calls that nobody has submitted."""
        if self._batch:
            count = len(self._batch)
            raise RuntimeError(f"a batch of {count} calls was left: `await vm.submit_batch()`")

    def submit_batch(self) -> None:
        if self._batch is None:
            raise RuntimeError("no batch is being made: `vm.set_batch()` first")
        calls, self._batch = in_order(self._batch), None
        for call in calls:
            self.backend.submit(call)
        self.backend.run()


class VirtualMachine:
    """Runs programs: against the core at `core_http_addr`, or, without one, in this process.

    In this process `engine`, `models` and settings are those of `parrotc.compile`. `api_key` is
    for a core that wants one. With `mode="debug"` calls are logged, as `parrotc.parrot`.
    """

    def __init__(
        self,
        core_http_addr: str | None = None,
        mode: Literal["release", "debug"] = "release",
        *,
        os_http_addr: str | None = None,
        api_key: str | None = None,
        engine: str | None = None,
        models: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """What `parrotc run --parrot` was told comes first.

        Raises `SettingsError`, `ValueError` for a mode that there is not, and `TypeError` for
        engines together with an address.
        """
        if mode not in ("release", "debug"):
            raise ValueError(f"`mode` is `release` or `debug`, not {mode!r}")
        if mode == "debug":
            _LOG.setLevel(logging.DEBUG)
        given = given_settings()
        address = core_http_addr or os_http_addr
        self.core_http_addr = None if given.is_local else address
        self.stat_run_time = 0.0  # seconds, of the last run
        self._make: Callable[[str], Backend]
        if self.core_http_addr is None:
            own = {"engine": engine, **settings}
            self._make = self._local({**own, **given.settings}, {**(models or {}), **given.models})
        elif engine or models or settings:
            raise TypeError(
                "a core has engines and settings of its own; leave one or the other out"
            )
        else:
            self._make = self._remote(self.core_http_addr, api_key)
        self._scope: Scope | None = None
        self._anonymous = count()

    # --- running ---

    def run(self, program: Any, timeit: bool = False, args: Sequence[Any] = ()) -> float:
        """Run a function, an `async def`, or a coroutine; how many seconds it took.

        What the program raises is raised. Its last calls have ended when this returns.
        """
        named = getattr(program, "__name__", MAIN)
        name = named if named.isidentifier() else MAIN
        with self.running_scope(timeit, name=name):
            if inspect.iscoroutine(program):
                asyncio.run(program)
            elif inspect.iscoroutinefunction(program):
                asyncio.run(program(*args))
            else:
                program(*args)
        return self.stat_run_time

    @contextmanager
    def running_scope(self, timeit: bool = False, *, name: str = MAIN) -> Iterator[None]:
        """Calls that are made in here run on this machine. `name` is that of the program."""
        scope = Scope(self, self._make(name))
        begun = time.perf_counter()
        with scope.backend.opened(), environment.entered(scope):
            yield
            scope.require_no_batch()
        self.stat_run_time = time.perf_counter() - begun
        if timeit:
            print(f"{name}: {self.stat_run_time:.3f} s", file=sys.stderr)

    def set_global_env(self) -> None:
        """From here on calls outside of any running program run on this machine."""
        if self._scope is None:
            self._scope = Scope(self, self._make(MAIN))
            environment.enter(self._scope)

    def unset_global_env(self) -> None:
        """Take `set_global_env` back. What was called runs."""
        if self._scope is not None:
            environment.leave(self._scope)
            self._scope.backend.run()
            self._scope = None

    def profile(
        self, program: Any, warmups: int = 3, trials: int = 20, args: Sequence[Any] = ()
    ) -> float:
        """How many seconds a program takes on average."""
        for _ in range(warmups):
            self.run(program, args=args)
        return sum(self.run(program, args=args) for _ in range(trials)) / trials

    # --- functions ---

    def define_function(
        self,
        func_name: str | None,
        func_body: str,
        params: Sequence[Parameter],
        models: Sequence[str] = (),
        cache_prefix: bool = True,
        remove_pure_fill: bool = True,
        model_type: str = "token_id",
    ) -> SemanticFunction:
        """A semantic function of a template, which is taken as it is. Raises `CompileError`."""
        name = func_name or f"anonymous_{next(self._anonymous)}"
        return SemanticFunction(
            Written(name, func_body),
            params,
            models=models,
            model_type=model_type,
            remove_pure_fill=remove_pure_fill,
        )

    def import_function(self, function_name: str, module_path: str) -> BasicFunction:
        """A function of a module: one of Parrot's kind, a `@pfunc` or a `@flow`.

        Raises `ImportError` for one that is not there; what the module raises is raised.
        """
        module = import_module(module_path)
        found = getattr(module, function_name, None)
        if found is None:
            near = did_you_mean(function_name, vars(module))
            raise ImportError(
                f"the module `{module_path}` has no function `{function_name}`"
                + (f"; {near}" if near else ""),
                name=module_path,
            )
        if isinstance(found, BasicFunction):
            return found
        callee = getattr(found, "callee", None)
        if isinstance(callee, Callee):
            return CompiledFunction(callee)
        raise ImportError(
            f"`{function_name}` of the module `{module_path}` is neither a semantic nor a native"
            " function",
            name=module_path,
        )

    # --- batches ---

    def set_batch(self, latency: float = 0.0) -> None:
        """Hold calls back until `submit_batch`. They keep their order, so there is no `latency`
        between them."""
        self._own_scope().begin_batch()

    async def submit_batch(self) -> None:
        """Run the calls that were held back, together."""
        self._own_scope().submit_batch()

    def _own_scope(self) -> Scope:
        scope = environment.current()
        if scope.machine is not self:
            raise RuntimeError("another virtual machine runs here, and its calls go there")
        return scope

    # --- where it runs ---

    def _local(self, settings: dict[str, Any], models: dict[str, str]) -> Callable[[str], Backend]:
        from parrotc.compat.parrot.local import Contexts, LocalBackend
        from parrotc.eager.service import service_for

        self.service: Service = service_for(models=models, **settings)
        contexts = Contexts(self.service)
        return lambda name: LocalBackend(self.service, contexts, name)

    def _remote(self, address: str, api_key: str | None) -> Callable[[str], Backend]:
        try:
            from parrotc.compat.parrot.core import Core
        except ImportError as error:
            help_ = "pip install 'parrotc[serve]'"
            raise ImportError(f"a core cannot be talked to ({error}): {help_}") from error
        from parrotc.compat.parrot.conversations import Conversation
        from parrotc.compat.parrot.remote import RemoteBackend

        core, contexts = Core(address, api_key), dict[str, Conversation]()
        return lambda name: RemoteBackend(core, contexts)

"""One flow of a loaded program: what a caller calls, awaits or streams."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from html import escape
from typing import Any

from parrotc.background import Background
from parrotc.ir.types import Json, Str, Type
from parrotc.notebook import Rich, picture_of_plan, table
from parrotc.runtime.plan import Flow, Plan
from parrotc.runtime.results import PythonTypes
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import TextSink

Run = Callable[..., Coroutine[Any, Any, Json]]  # of a flow's name and inputs, on the background


class FlowHandle(Rich):
    """One flow. Calling it runs it; keywords are its inputs, and `timeout` and `seed`.

    A flow with an input that is called `timeout` or `seed` is given that, as in `docs/python.md`.
    """

    def __init__(
        self, plan: Plan, flow: Flow, python: PythonTypes, run: Run, background: Background
    ) -> None:
        self._plan = plan
        self._flow = flow
        self._python = python
        self._runner = run
        self._background = background
        self.__name__ = flow.name

    @property
    def _result(self) -> Type:
        return self._plan.type_table[self._flow.result]

    @property
    def __signature__(self) -> inspect.Signature:
        types, python = self._plan.type_table, self._python
        params = [
            inspect.Parameter(
                param.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=param.default if param.has_default else inspect.Parameter.empty,
                annotation=python.of(types[param.type]),
            )
            for param in self._flow.params
        ]
        return inspect.Signature(params, return_annotation=python.of(self._result))

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        place = self._plan.span(self._flow.span)
        origin = f"\n\nThe flow at {place}." if place else ""
        return self._plan.signature(self._flow) + origin

    def __repr__(self) -> str:
        return f"<flow {self.__doc__.splitlines()[0]}>"

    def _html(self) -> str:
        rows = {"flow": escape(self.__doc__), "graph": self._picture()}
        return table(self._flow.name, rows)

    def _picture(self) -> str:
        return picture_of_plan(self._plan.flow_level.text, self._flow.name)

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """The result, typed. Raises `RunError` when the flow fails, and `TimeoutError`."""
        return self._background.result(self._typed(*self._bound(args, inputs)))

    async def acall(self, *args: Any, **inputs: Any) -> Any:
        """The same in an `async def`. Cancelling it cancels the run."""
        work = self._typed(*self._bound(args, inputs))
        return await asyncio.wrap_future(self._background.start(work))

    async def stream(self, *args: Any, **inputs: Any) -> AsyncIterator[Any]:
        """The text of the result as it is generated; one typed result if it is not such a text."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def tell(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        is_text = isinstance(self._result, Str)
        sink = tell if is_text else None
        work = self._typed(*self._bound(args, inputs), sink=sink)
        run = self._background.start(work)
        run.add_done_callback(lambda _: None if loop.is_closed() else tell(None))
        told = ""
        try:
            while (piece := await pieces.get()) is not None:
                told += piece
                yield piece
            result = await asyncio.wrap_future(run)
            if not is_text:
                yield result
            elif result != told:
                yield result.removeprefix(told)
        finally:
            run.cancel()

    def plain(
        self,
        inputs: Mapping[str, Any],
        *,
        seed: int | None = None,
        timeout: float | None = None,
        keep: bool = False,
        trace: Trace | None = None,
    ) -> Json:
        """The result as plain data, for tools. `keep`: see `Executor.run`."""
        work = self._run(inputs, seed, timeout, keep=keep, trace=trace)
        return self._background.result(work)

    def _bound(
        self, args: tuple[Any, ...], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], int | None, float | None]:
        """The inputs; the seed and the timeout of the run."""
        names = [param.name for param in self._flow.params]
        seed, timeout = (
            inputs.pop(name, None) if name not in names else None for name in ("seed", "timeout")
        )
        if len(args) > len(names):
            raise TypeError(f"`{self._flow.name}` takes {len(names)} inputs, not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name in given.keys() & inputs.keys():
            raise TypeError(f"`{self._flow.name}` got two values for `{name}`")
        return given | inputs, seed, timeout

    async def _typed(
        self,
        inputs: Mapping[str, Any],
        seed: int | None,
        timeout: float | None,
        sink: TextSink | None = None,
    ) -> Any:
        data = await self._run(inputs, seed, timeout, sink=sink)
        return self._python.build(self._result, data)

    def _run(
        self,
        inputs: Mapping[str, Any],
        seed: int | None,
        timeout: float | None,
        *,
        keep: bool = False,
        trace: Trace | None = None,
        sink: TextSink | None = None,
    ) -> Coroutine[Any, Any, Json]:
        return self._runner(
            self._flow.name,
            inputs,
            seed=seed,
            timeout=timeout,
            keep=keep,
            trace=trace or Trace(),
            sink=sink,
        )

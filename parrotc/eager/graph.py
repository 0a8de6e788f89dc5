"""Eager calls, captured as they are made and run together when somebody wants a result.

    with Graph(engine="reference") as graph:
        notes = [graph.call(digest, (part,)) for part in parts]
        print(graph.call(merge, (notes,)).get())         # all calls so far: one segment

Calls that are made afterwards are the next segment. It may read what ran before, also while that is
still on its way, and the engine still has what was filled. What no variable holds and nothing needs
is not run, unless it has an effect.

A graph may be used from several threads. Each thread has one of its own until it opens another
(`current`), so what one thread captures is never cut by a `get` in another.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import ContextVar
from functools import partial
from typing import Any, Self

from parrotc.eager.arguments import bound
from parrotc.eager.callterms import PLAIN, CallTerms, with_terms
from parrotc.eager.cell import is_failed
from parrotc.eager.library import Callee
from parrotc.eager.named import Told
from parrotc.eager.node import CallNode, InputNode, Node
from parrotc.eager.place import Place
from parrotc.eager.pytypes import type_of
from parrotc.eager.service import Running, Segment, Service, service_for
from parrotc.eager.shaping import Shaping, needed
from parrotc.eager.variable import Var
from parrotc.eager.waiting import graphs_of, never_set, unset, waited
from parrotc.ir.tokenhash import draw_key
from parrotc.runtime.engines.protocol import EngineInfo
from parrotc.runtime.errors import Failed, Failure, RunError, RunTimeout
from parrotc.runtime.openrun import CANCELLED
from parrotc.runtime.results import PythonTypes
from parrotc.runtime.trace import Counters, Trace, Watcher
from parrotc.runtime.values import as_input

NAME = "main"  # of a graph that is given none: its sampled calls draw as a flow of that name does


class Graph:
    """Calls that are made in it, and how they run.

    `engine`, `models` and settings are those of `parrotc.compile`; graphs with equal ones share
    engines. `service` runs them instead. `watcher` is told what happens while segments run.
    """

    def __init__(
        self,
        name: str = NAME,
        *,
        engine: str | None = None,
        models: Mapping[str, str] | None = None,
        service: Service | None = None,
        watcher: Watcher | None = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.service = service or service_for(engine, models, **settings)
        self.segments = 0
        self._trace = Trace(watcher)
        self._lock = threading.RLock()
        self._captured: list[CallNode] = []
        self._running: list[Running] = []
        self._begun: list[CallNode] = []  # of those that run
        self._entered = 0

    # --- capturing ---

    def call(
        self,
        callee: Callee,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        place: Place | None = None,
        criteria: str | None = None,
        terms: CallTerms = PLAIN,
    ) -> Var[Any]:
        """The result of a call, which runs when some result of the graph is wanted.

        `seed` and `timeout` among the keywords, where they are no inputs, are terms of the call.
        Raises `TypeError` for inputs that the function does not have, `RunError` E0607 for values
        that do not fit.
        """
        inputs = dict(kwargs or {})
        if not callee.is_native:
            inputs, terms = with_terms(callee.name, callee.params, inputs, terms)
        arguments = bound(callee, args, inputs, place)
        node = CallNode(self, callee, arguments, place, terms)
        node.criteria = criteria
        var: Var[Any] = Var(node)
        with self._lock:
            self._captured.append(node)
        return var

    def variable(
        self,
        name: str = "input",
        content: Any = None,
        *,
        type: Any = None,
        place: Place | None = None,
    ) -> Var[Any]:
        """An input that is set later, or now to `content`. `type` is what a parameter would be
        annotated with; else that of the content, or `str`."""
        node = InputNode(self, name, type_of(type, content), PythonTypes(), place)
        var: Var[Any] = Var(node)
        if content is not None:
            self.set(node, content)
        return var

    # --- running ---

    def run(self) -> None:
        """Begin all that was captured. Does not wait."""
        with self._lock:
            calls = needed(self._captured)
            self._captured = []
            if not calls:
                return
            number, self.segments = self.segments, self.segments + 1
            shaping = Shaping(self.name, calls)
            running = self.service.run(
                Segment(
                    shaping.shape,
                    shaping.values,
                    told=[Told(call.tell, call.cell.tell) for call in calls],
                    parts=[_parts(call) for call in calls],
                    seed=self._seed(number),
                    seeds=[call.terms.seed for call in calls],
                    folders=list(dict.fromkeys(call.callee.library.folder for call in calls)),
                    trace=self._trace,
                )
            )
            self._running = [one for one in self._running if not one.done.done()] + [running]
            self._begun = [one for one in self._begun if not one.cell.outcome.done()] + calls
            others = graphs_of(calls) - {self}
            for place, call in enumerate(calls):
                call.begin(running, place)
        for call in calls:
            if call.terms.timeout is not None:
                self.service.start(self._limited(call, call.terms.timeout))
        for graph in others:
            graph.run()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is captured that has not begun."""
        return not self._captured

    def _seed(self, segment: int) -> int:
        """The first segment draws as a flow with its calls does; each later one on its own."""
        seed = self.service.settings.seed
        return draw_key(seed, "segment", (segment,)) if segment else seed

    def want(self, node: Node, criteria: str | None, *, can_wait: bool) -> None:
        """Somebody waits for a value: what was captured runs.

        Raises `RunError` E0621 where that cannot end: an input is not set, and nobody wants to
        wait for whoever sets it.
        """
        if criteria not in (None, "latency", "throughput"):
            raise ValueError(f"`criteria` is `latency` or `throughput`, not {criteria!r}")
        if isinstance(node, CallNode) and criteria is not None and node.running is None:
            node.criteria = criteria
        missing = None if can_wait else unset(node)
        if missing is not None:
            raise RunError(never_set(missing))
        self.run()

    def set(self, node: Node, value: Any) -> None:
        """See `Var.set`."""
        if not isinstance(node, InputNode):
            raise RuntimeError(f"the variable `{node.name}` gets its value from a call")
        try:
            data = as_input(node.name, node.type, value)
        except Failed as failed:
            raise RunError(failed.at(node.place.span() if node.place else None)) from None
        if not node.cell.set(data):
            raise RuntimeError(f"the variable `{node.name}` is set already")

    def promise(self, var: Var[Any], sources: Sequence[Var[Any]]) -> Callable[[Any], None]:
        """Take it that an input will be set, by what waits for `sources`; call what comes back with
        the outcome: plain data, a `Failure` or an error.

        Raises `RuntimeError` for what has a value, and for what would wait for itself.
        """
        node = var._node
        if not isinstance(node, InputNode) or node.sources is not None:
            raise RuntimeError(f"the variable `{var.name}` gets its value from a call")
        if node.cell.outcome.done():
            raise RuntimeError(f"the variable `{var.name}` is set already")
        if any(node in waited(source._node) for source in sources):
            raise RuntimeError(f"the variable `{var.name}` needs its own value")
        node.sources = tuple(sources)

        def tell(outcome: Any) -> None:
            node.cell.set(outcome)
            node.sources = ()  # what it waited for may go

        return tell

    def bind(self, var: Var[Any], source: Var[Any]) -> None:
        """Let an input become what another variable gives. Raises as `promise` does."""
        tell = self.promise(var, [source])

        def follow(done: Future[Any]) -> None:
            outcome = done.result()
            tell(outcome if is_failed(outcome) else source._data(outcome))

        source._cell.outcome.add_done_callback(follow)

    def cancel(self, node: Node) -> None:
        """See `Var.cancel`."""
        if isinstance(node, InputNode):
            node.cell.set(CANCELLED)
            return
        assert isinstance(node, CallNode)
        self._give_up(node, CANCELLED)

    def _give_up(self, node: CallNode, failure: Failure) -> None:
        """It will have no value, nor will what reads it: what only these need stops."""
        with self._lock:
            if node in self._captured:
                self._captured.remove(node)
            lost = [call for call in self._begun if node in waited(call)]
        for call in lost or [node]:  # in the order in which they were captured
            call.tell(failure)
            if call.running is not None:
                call.running.cancel(call.number)

    async def _limited(self, call: CallNode, timeout: float) -> None:
        """Give a call up that has no value after so many seconds."""
        coming = asyncio.wrap_future(call.cell.outcome)
        await asyncio.wait([coming], timeout=timeout)
        if not coming.done():
            message = f"`{call.name}` has no value after {timeout:g} s"
            self._give_up(call, Failed("E0612", message).at(None))

    # --- what is going on ---

    @property
    def counters(self) -> Counters:
        """Totals of all segments so far. What is filled is what plans asked for: what the engine
        had already is in `engines`."""
        return self._trace.counters.copy()

    def engines(self) -> list[EngineInfo]:
        """What each engine that is open holds and does."""
        return self.service.engines()

    # --- being the graph of a thread ---

    def __enter__(self) -> Self:
        with self._lock:
            self._entered += 1
        _OPENED.set((*_OPENED.get(), self))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Run what was captured and wait for it; after an exception, cancel it instead.

        Where several threads have entered it, the last one that leaves does so.
        """
        _OPENED.set(_OPENED.get()[:-1])
        with self._lock:
            self._entered -= 1
            if self._entered:
                return
        if kind is not None:
            self.close()
            return
        self.run()
        for call in self._begun:
            while (missing := unset(call)) is not None:
                missing.cell.set(never_set(missing))
        self._finish()

    def _finish(self) -> None:
        """Wait for what runs, as long as anybody who says no timeout waits."""
        limit = self.service.settings.max_wait
        _, late = wait([running.done for running in self._running], timeout=limit)
        if late:
            self.close()
            message = f"the graph `{self.name}` is not done after {limit} s"
            raise RunTimeout(Failed("E0612", message).at(None))

    def close(self) -> None:
        """Cancel what was captured and what runs. Variables that have values keep them."""
        with self._lock:
            captured, self._captured = self._captured, []
        for call in captured:
            call.tell(CANCELLED)
        for running in self._running:
            running.stop()


_OPENED: ContextVar[tuple[Graph, ...]] = ContextVar("graphs", default=())
_OF_THREAD = threading.local()


def current() -> Graph:
    """The graph that calls are captured in here: the one opened by `with`, or the thread's own."""
    opened = _OPENED.get()
    if opened:
        return opened[-1]
    own: Graph | None = getattr(_OF_THREAD, "graph", None)
    if own is None or (own.is_idle and own.service is not service_for()):
        own = _OF_THREAD.graph = Graph()
    return own


def _parts(call: CallNode) -> dict[str, Told]:
    """Who is told of each output of a call that has several."""
    return {
        name: Told(partial(call.tell_part, name), cell.tell) for name, cell in call.parts.items()
    }

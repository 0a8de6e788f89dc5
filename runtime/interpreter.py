"""One run of a flow: a data-flow interpreter on asyncio.

A step starts when its operands are ready. Quick ones (data, and contexts, which cost nothing until
a generation needs them) run where they stand; the others are tasks. A failure is the outcome of
the step it began in and of all that read it; a region ends with the outcomes of its yields, when
the steps with effects have run too, and what is left in it is cancelled.

Where the compiler marked them, fills begin before they are needed: while the value that the prompt
waits for is on its way (`early`), with as much of it as is there (`stream`), and in a fold for the
round after the one that runs (`ahead`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from parrotc.ir.scalar import ScalarError, apply
from parrotc.ir.types import Json
from parrotc.runtime.code import Code, Item
from parrotc.runtime.contexts import Outlook
from parrotc.runtime.engines.protocol import Piece
from parrotc.runtime.errors import Failed, Failure
from parrotc.runtime.frames import Frame, ended
from parrotc.runtime.generation import Crowd, Here, generate
from parrotc.runtime.longtexts import beforehand
from parrotc.runtime.pipes import Pipe, TextPipe, TokenPipe
from parrotc.runtime.prompts import Prompt
from parrotc.runtime.reading import is_long, parts, texts
from parrotc.runtime.resources import Resources
from parrotc.runtime.rounds import Round, drop
from parrotc.runtime.steps import (
    AnyStep,
    Apply,
    Attempt,
    Const,
    End,
    Fill,
    Fold,
    Free,
    Generate,
    If,
    Map,
    Message,
    Native,
    Open,
    Render,
)
from parrotc.runtime.terms import PLAIN, Terms, once
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import PieceSink, State, TextSink

BREATH = 500  # steps started in one go before others get a turn

_Unfinished = tuple[list[Json], set[int]]  # the items of a parallel map, and which are missing


class Interpreter:
    """The state of one run. `in_order`: each step ends before the next one in the text begins."""

    def __init__(
        self,
        resources: Resources,
        trace: Trace,
        *,
        seed: int,
        keep: bool,
        terms: Terms = PLAIN,
        in_order: bool = False,
    ) -> None:
        self._resources = resources
        self._trace = trace
        self._terms = terms
        self._groups: Mapping[int, int] = {}
        self._seed = seed
        self._keep = keep
        self._in_order = in_order
        self._hands = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished: dict[str, Json] = {}
        self._partial: dict[str, _Unfinished] = {}
        # not a method: the two would hold each other, and nothing of the run would go at its end
        trace.finished = self.kept = partial(_kept, self._finished, self._partial)

    async def run(
        self, code: Code, args: Mapping[str, Json], sink: TextSink | None = None
    ) -> Json | Failure:
        """The flow's result, or why there is none. Bugs of ours are raised."""
        (result,) = code.block.yields
        self._hands, self._groups = code.hands, code.groups
        frame = Frame(code, sinks={result: sink} if sink else None)
        self._expect(code.calls)
        work = asyncio.ensure_future(
            self._region(frame, [args[name] for name in code.block.params], patient=False)
        )
        try:
            await asyncio.wait((work, self._broken), return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
            (outcome,) = work.result()
            return outcome
        finally:
            work.cancel()
            await ended((work,))
            self._broken.cancel()

    # --- regions ---

    async def _region(
        self, frame: Frame, params: Sequence[Any], *, patient: bool = True
    ) -> list[Any]:
        """The outcomes of a frame's yields; contexts among them come with a hold of their own.

        The frame takes over the holds of `params`: of all, or of the first if it is `ahead`. Unless
        `patient`, steps with effects are not waited for once a yield has failed.
        """
        block = frame.code.block
        held: list[Any] = []
        try:
            for name, outcome in zip(block.params, params, strict=frame.gate is None):
                frame.assign(name, outcome)
            await self._start(frame)
            outcomes = [await frame.find(name).wait() for name in block.yields]
            if patient or not any(isinstance(outcome, Failure) for outcome in outcomes):
                for task in frame.effects:
                    await asyncio.wait((task,))
            held = list(map(_held, outcomes))
        finally:
            try:
                await frame.close()
            except asyncio.CancelledError:
                drop(held)
                raise
        return held

    async def _start(self, frame: Frame) -> None:
        for number, item in enumerate(frame.code.items):
            if isinstance(item.step, Free):
                frame.free(item.step.context)
            elif (
                item.is_quick
                and all(frame.find(n).state is not State.EMPTY for n in item.reads)
                and not is_long(item, frame)
            ):
                self._quick(item, frame)
            else:
                task = frame.spawn(item, self._later(item, frame))
                if self._in_order:
                    await asyncio.wait((task,))
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)

    def _expect(self, calls: int) -> None:
        self._trace.counters.calls_total_known += calls
        self._trace.tell("calls")

    async def _later(self, item: Item, frame: Frame) -> None:
        """A step that has to wait, for operands or for its work."""
        try:
            if item.streams is not None:
                await self._streamed(item, item.streams, frame)
                return
            for name in item.reads:
                await frame.find(name).wait()
            if item.is_quick:
                await self._soon(item, frame)
                return
            if frame.gate is not None:
                await frame.gate.wait()
            await self._slow(item, frame)
        except Exception as error:  # a bug of ours must not leave getters hanging
            if not self._broken.done():
                self._broken.set_exception(error)
        finally:
            frame.done(item)

    # --- steps ---

    async def _streamed(self, item: Item, source: str, frame: Frame) -> None:
        """A fill whose first part is filled while it is still being generated."""
        step = item.step
        assert isinstance(step, Fill)
        base = await frame.find(step.context).wait()
        pipe: Pipe | None = None
        if isinstance(base, Prompt) and not base.is_message_list():
            kind = TextPipe if source in item.reads else TokenPipe
            pipe = kind(base, self._trace)
        try:
            if pipe is not None:
                frame.find(source).watch(pipe.tell)
            for name in item.reads:
                await frame.find(name).wait()
            await self._soon(item, frame, pipe)
        finally:
            if pipe is not None:
                pipe.close()

    async def _soon(self, item: Item, frame: Frame, pipe: Pipe | None = None) -> None:
        """A quick step, unless its texts are so long that they are tokenised on a thread first."""
        if not is_long(item, frame) or _poison(item, frame) is not None:
            self._quick(item, frame, pipe)
            return
        async with beforehand(*texts(item, frame, self._resources)):
            self._quick(item, frame, pipe)

    def _quick(self, item: Item, frame: Frame, pipe: Pipe | None = None) -> None:
        step = item.step
        failure = _poison(item, frame)
        try:
            if failure is None:
                value = self._value(step, frame, pipe)
                frame.assign(step.results[0], value)
                if step.notes.get("early") and isinstance(value, Prompt):
                    value.begin(self._trace)
        except Failed as failed:
            failure = failed.at(self._resources.span(step))
        except ScalarError as error:
            failure = Failed("E0606", str(error)).at(self._resources.span(step))
        if failure is not None:
            frame.fail(item, failure)

    def _value(self, step: AnyStep, frame: Frame, pipe: Pipe | None) -> Any:
        """The value of a step that needs no waiting."""
        match step:
            case Const():
                return step.value
            case Apply():
                args = [frame.get(name) for name in step.args]
                return apply(step.function, args, step.attrs, self._resources.tokenizers)
            case Open():
                return self._resources.open(step.model, step.prefix)
            case Fill():
                return (pipe or frame.get(step.context)).fill(parts(step, frame), _outlook(step))
            case Message():
                return frame.get(step.context).start_message(step.role)
            case End():
                return frame.get(step.context).end_message()
            case Render():
                prompt: Prompt = frame.get(step.context)
                return prompt.rendered(self._resources.render(prompt.model, prompt.messages))
        raise AssertionError(f"{type(step).__name__} is not quick")

    async def _slow(self, item: Item, frame: Frame) -> None:
        failure = _poison(item, frame)
        if failure is not None:
            frame.fail(item, failure)
            return
        try:
            outcomes = await self._work(item, frame)
        except Failed as failed:
            frame.fail(item, failed.at(self._resources.span(item.step)))
            return
        for name, outcome in zip(item.step.results, outcomes, strict=True):
            frame.assign(name, outcome)
        if frame.parent is None:
            self._remember(item, outcomes)

    async def _work(self, item: Item, frame: Frame) -> Sequence[Any]:
        match item.step:
            case Generate():
                return await self._generate(item.step, frame)
            case Native():
                return [await self._native(item.step, frame)]
            case Map():
                return await self._map(item, item.step, frame)
            case Fold():
                return await self._fold(item, item.step, frame)
            case If():
                taken = item.regions[0 if frame.get(item.step.condition) else 1]
                self._expect(taken.calls)
                return await self._inner(taken, item, frame, (), [])
            case Attempt():
                return await self._attempt(item, item.step, frame)
        raise AssertionError(f"{type(item.step).__name__} is quick")

    async def _generate(self, step: Generate, frame: Frame) -> Sequence[Any]:
        return await generate(
            step,
            frame.get(step.context),
            type_=self._resources.plan.type_table[step.type],
            seed=self._seed,
            here=Here(
                path=frame.path,
                trace=self._trace,
                sink=_sink(step.results[1], frame),
                terms=self._terms,
                crowd=frame.crowd,
                together=self._groups.get(step.notes.get("group", -1), 1),
            ),
            limit=self._resources.max_new_tokens,
            hands=self._hands,
        )

    async def _native(self, step: Native, frame: Frame) -> Json:
        self._trace.counters.natives_running += 1
        try:
            return await self._ran(step, frame)
        finally:
            self._trace.counters.natives_running -= 1
            self._trace.counters.natives_done += 1
            self._trace.tell("native", step.native, frame.path)

    async def _ran(self, step: Native, frame: Frame) -> Json:
        """The value of a native: what it gave before, where the run remembers, or gives now."""
        args = [frame.get(name) for name in step.args]
        memory = self._terms.memory
        if memory is None:
            return await self._resources.call(step.native, args)
        place, native = step.results[0], self._resources.native(step.native)
        run = partial(self._resources.call, step.native, args)
        return await once(memory, place, frame.path, native, run)

    async def _inner(
        self, code: Code, item: Item, frame: Frame, path: tuple[int, ...], params: Sequence[Any],
        *, watched: bool = True, patient: bool = True, crowd: Crowd | None = None,
    ) -> list[Any]:  # fmt: skip
        """The outcomes of a region of a step, in a frame of its own."""
        sinks = {}
        if watched and frame.sinks:
            names = zip(item.step.results, code.block.yields, strict=False)
            sinks = {inner: frame.sinks[name] for name, inner in names if name in frame.sinks}
        return await self._region(
            Frame(code, frame, (*frame.path, *path), sinks, crowd=crowd), params, patient=patient
        )

    async def _map(self, item: Item, step: Map, frame: Frame) -> Sequence[Any]:
        """One list for each yield. A list with a failed item has failed, with the first failure.

        A failure that no list survives stops the rest, unless what can be finished is kept.
        """
        (code,) = item.regions
        items: list[Json] = frame.get(step.items)
        columns: list[list[Any]] = [[None] * len(items) for _ in step.results]
        missing = set(range(len(items)))
        failures: list[Failure | None] = [None] * len(columns)
        self._expect(code.calls * len(items))
        if frame.parent is None:
            self._partial.update(
                (n, (c, missing)) for n, c in zip(step.results, columns, strict=True)
            )
        waiting = iter(range(len(items)))
        crowd = Crowd(frame.path, len(items))

        async def work() -> None:
            for index in waiting:
                params = [items[index], index]
                found = await self._inner(
                    code, item, frame, (index,), params, watched=False, crowd=crowd
                )
                for number, outcome in enumerate(found):
                    if isinstance(outcome, Failure):
                        failures[number] = failures[number] or outcome
                    else:
                        columns[number][index] = outcome
                if not any(isinstance(outcome, Failure) for outcome in found):
                    missing.discard(index)
                if columns and all(failures) and not self._keep:
                    raise _Enough

        try:
            async with asyncio.TaskGroup() as group:
                width = 1 if self._in_order else self._resources.width
                for _ in range(min(width, len(items))):
                    group.create_task(work())
        except* _Enough:
            pass
        return [failures[n] or column for n, column in enumerate(columns)]

    async def _fold(self, item: Item, step: Fold, frame: Frame) -> Sequence[Any]:
        (code,) = item.regions
        carried = [_held(frame.get(name)) for name in step.inits]
        if step.notes.get("ahead") and not step.early:
            return await self._fold_ahead(code, frame.get(step.items), carried, frame)
        for index, value in enumerate(frame.get(step.items)):
            self._expect(code.calls)
            params = [value, index, *carried]
            carried = await self._inner(code, item, frame, (index,), params, watched=False)
            if step.early:
                go_on, *carried = carried
                if isinstance(go_on, Failure):
                    drop(carried)
                    return [go_on] * len(step.results)
                if not go_on:
                    break
        return carried

    async def _fold_ahead(
        self, code: Code, items: Sequence[Json], carried: Sequence[Any], frame: Frame
    ) -> Sequence[Any]:
        """A fold each of whose rounds begins, but for slow steps, while the one before it runs."""
        self._expect(code.calls * len(items))
        begun: list[Round] = []
        try:
            for index in range(len(items)):
                while len(begun) < min(index + 2, len(items)):
                    begun.append(self._round(code, frame, items, len(begun)))
                begun[index].go(carried)
                if index + 1 < len(begun):
                    begun[index].flow_into(begun[index + 1])
                carried = await begun[index].take()
            return carried
        finally:
            for one in begun[-2:]:
                await one.abandon()

    def _round(self, code: Code, frame: Frame, items: Sequence[Json], index: int) -> Round:
        inner = Frame(code, frame, (*frame.path, index), gate=asyncio.Event())
        work = self._region(inner, [items[index], index])
        return Round(inner, asyncio.ensure_future(work))

    async def _attempt(self, item: Item, step: Attempt, frame: Frame) -> Sequence[Any]:
        (code,) = item.regions
        failure: Failure | None = None
        for attempt in range(step.retries + 1):
            self._expect(code.calls)
            outcomes = await self._inner(
                code, item, frame, (attempt,), [], watched=step.retries == 0, patient=False
            )
            failure = next((o for o in outcomes if isinstance(o, Failure)), None)
            if failure is None:
                return outcomes
            drop(outcomes)
        return [None if step.tolerant else failure] * len(step.results)

    def _remember(self, item: Item, outcomes: Sequence[Any]) -> None:
        """Keep what cost work, for whoever wants it should the run fail."""
        for name, outcome in zip(item.step.results, outcomes, strict=True):
            if not isinstance(outcome, Prompt | Failure):
                self._finished[name] = outcome


class _Enough(Exception):
    """Nothing that is still to come can change how a map ends."""


def _kept(finished: dict[str, Json], unfinished: Mapping[str, _Unfinished]) -> dict[str, Json]:
    """The top-level values that were finished; of a parallel map that was not, its items."""
    some = {
        name: {"items": items, "missing": sorted(missing)}
        for name, (items, missing) in unfinished.items()
        if name not in finished and len(missing) < len(items)
    }
    return {**finished, **some}


def _poison(item: Item, frame: Frame) -> Failure | None:
    """The failure of the first operand that has one. What a fold carries may fail: an iteration
    that does not read it, or tolerates it, goes on."""
    names = item.reads[:1] if isinstance(item.step, Fold) else item.reads
    outcomes = (frame.get(name) for name in names)
    return next((outcome for outcome in outcomes if isinstance(outcome, Failure)), None)


def _held(outcome: Any) -> Any:
    return outcome.take() if isinstance(outcome, Prompt) else outcome


def _sink(name: str, frame: Frame) -> PieceSink:
    """Tells whoever watches a text that is being generated, in this run and outside of it."""
    told, outside = frame.find(name), frame.sinks.get(name)
    if outside is None:
        return told.tell

    def tell(piece: Piece) -> None:
        told.tell(piece)
        outside(piece.text)

    return tell


def _outlook(step: Fill) -> Outlook:
    return Outlook(step.notes.get("next_use"), step.notes.get("scope") == "call")

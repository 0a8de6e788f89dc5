"""The calls of one session and the variables between them.

    q ─▶ [plan] ─▶ outline ─▶ [write] ─▶ draft      get(draft, criteria="latency")
                                  ▲                  and the goal travels upstream
    style ────────────────────────┘

A call runs when all that it reads is there, and somebody has asked for what it makes, or nobody has
for a moment (`LINGER`): so a `get` that follows at once still decides how it is scheduled. Its
place in the graph goes with it: how deep it is, how much waits for it, who is waited for with it.

A call is in the graph until it has ended. Then nothing refers to it any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from secrets import token_urlsafe

from parrotc.runtime.core.errors import Busy, Conflict, NotFound
from parrotc.runtime.core.keeping import Keeping
from parrotc.runtime.core.sessionrecords import VariableRecord
from parrotc.runtime.core.variables import CANCELLED, SemanticVariable
from parrotc.runtime.errors import Failed, Failure, RunError
from parrotc.runtime.goals import NOBODY_WAITS, Goal

_log = logging.getLogger(__name__)

LINGER = 0.02  # seconds
Source = SemanticVariable | str


class Call:
    """One call. `inputs` are variables or texts, `outputs` the variables it makes, by parameter;
    `work` is given the call and its inputs and sets the outputs, or raises `Failed` or `RunError`.

    `seconds` is the estimated time it takes, `rank` that from its start to the end of what waits
    for it, as far as that is known now; `depth` counts the generations before it, and `awaited` the
    calls that make what it reads.
    """

    __slots__ = (
        "_wanted", "awaited", "depth", "goal", "has_begun", "id", "inputs", "outputs", "rank",
        "seconds", "task", "work",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Mapping[str, Source],
        outputs: Mapping[str, SemanticVariable],
        seconds: float,
        work: "Work",
        id: str = "",
    ) -> None:
        """`id` is that of a call which is begun again."""
        self.work = work
        self.id = id or f"c-{token_urlsafe(12)}"
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self.seconds = self.rank = seconds
        self.depth = max((variable.depth for variable in self.reads()), default=0)
        self.awaited = len({variable.producer for variable in self.reads()} - {None})
        self.goal = NOBODY_WAITS
        self.has_begun = False
        self.task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    def reads(self) -> list[SemanticVariable]:
        return [one for one in self.inputs.values() if isinstance(one, SemanticVariable)]

    @property
    def is_wanted(self) -> bool:
        return self._wanted.is_set()

    def want(self) -> None:
        """Somebody waits for it."""
        self._wanted.set()

    async def until_wanted(self) -> None:
        await self._wanted.wait()

    def crowd(self) -> tuple[str, int] | None:
        """A name and the size of the group that is waited for together with it: all the calls that
        its one reader reads."""
        readers = {reader for output in self.outputs.values() for reader in output.consumers}
        if len(readers) != 1:
            return None
        (reader,) = readers
        return (reader.id, reader.awaited) if reader.awaited > 1 else None


Work = Callable[[Call, dict[str, str]], Awaitable[None]]


class Graph:
    """One session's. `most` variables may be there; `keeping` is told how calls end."""

    def __init__(self, most: int, keeping: Keeping | None = None) -> None:
        self._most = most
        self._keeping = keeping or Keeping()
        self._variables: dict[str, SemanticVariable] = {}
        self._calls: set[Call] = set()

    def __iter__(self) -> Iterator[SemanticVariable]:
        return iter(tuple(self._variables.values()))

    def __len__(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    # --- variables ---

    def create(self, *names: str) -> list[SemanticVariable]:
        """New variables: all of them, or it raises `Busy`."""
        if len(self._variables) + len(names) > self._most:
            raise Busy(
                f"the session has {len(self._variables):,} variables, and may have {self._most:,}",
                "delete those that are not needed any more",
            )
        made = [SemanticVariable(name) for name in names]
        self._variables.update((variable.id, variable) for variable in made)
        return made

    def restore(self, record: VariableRecord) -> SemanticVariable:
        """A variable that was there before, whatever the limit is now."""
        variable = SemanticVariable(record.name, record.id)
        variable.is_named = record.is_named
        if record.is_named:
            self._variables[record.id] = variable
        if record.outcome is not None:
            variable.set(record.outcome)
        return variable

    def find(self, var_id: str) -> SemanticVariable:
        """Raises `NotFound`."""
        if var_id not in self._variables:
            raise NotFound("there is no such variable in this session")
        return self._variables[var_id]

    def delete(self, var_id: str) -> None:
        """Nobody will ask for a variable again."""
        variable = self.find(var_id)
        del self._variables[var_id]
        variable.is_named = False
        if variable.producer is None:
            variable.cancel(f"the variable `{variable.name}` was deleted before it was set")
        self._drop([variable])

    def _drop(self, variables: Iterable[SemanticVariable]) -> None:
        """Cancel the calls that make `variables` if nobody needs anything that they make, and what
        was needed for these calls only."""
        waiting = list(variables)
        while waiting:
            call = waiting.pop().producer
            if call is None or any(v.is_named or v.consumers for v in call.outputs.values()):
                continue
            waiting += call.reads()
            self.cancel(call, "nobody needed the call any more")

    def tidy(self) -> None:
        """Cancel the calls that have made all they would make, and those that nobody needs."""
        for call in list(self._calls):
            if all(output.is_settled for output in call.outputs.values()):
                self.cancel(call, "it was finished")
        self._drop(output for call in list(self._calls) for output in call.outputs.values())

    # --- calls ---

    def add(self, call: Call) -> "asyncio.Task[None]":
        """Take a call, which begins when it can, and give its work. Raises `Conflict` for an output
        that cannot be its.

        A call of which nobody wants anything when it lingered begins all the same.
        """
        self._check_outputs(call)
        return self.restart(call)

    def restart(self, call: Call) -> "asyncio.Task[None]":
        """The same for a call that was taken before, and may have set some of its outputs."""
        goal = NOBODY_WAITS
        for output in call.outputs.values():
            output.producer = None if output.is_settled else call
            output.depth = call.depth + len(call.outputs)
            goal |= output.goal
        for variable in call.reads():
            variable.consumers.add(call)
        self._calls.add(call)
        self._rank(call)
        loop = asyncio.get_running_loop()
        if goal != NOBODY_WAITS:
            self._demand(call, goal)
        else:
            loop.call_later(LINGER, call.want)
        call.task = loop.create_task(self._run(call))
        call.task.add_done_callback(lambda _: self._keeping.over(call))
        return call.task

    def _check_outputs(self, call: Call) -> None:
        for output in call.outputs.values():
            if output.is_settled or output.producer is not None:
                raise Conflict(f"the variable `{output.name}` is set already, or will be")
        made = set(call.outputs.values())
        if len(made) < len(call.outputs):
            raise Conflict("two outputs are one variable")
        if not any(output.consumers for output in made) and made.isdisjoint(call.reads()):
            return  # nobody has read what it makes, so it reads nothing that comes of it
        seen: set[SemanticVariable] = set()
        waiting = call.reads()
        while waiting:
            variable = waiting.pop()
            if variable in made:
                raise Conflict(f"the call would wait for itself, for `{variable.name}`")
            if variable not in seen and variable.producer is not None:
                seen.add(variable)
                waiting += variable.producer.reads()

    def demand(self, variable: SemanticVariable, goal: Goal) -> None:
        """Somebody waits for `variable`, and cares about `goal`: all before it are to hurry."""
        variable.goal |= goal
        if variable.producer is not None:
            self._demand(variable.producer, goal)

    def _demand(self, call: Call, goal: Goal) -> None:
        waiting = [(call, goal)]
        while waiting:
            call, goal = waiting.pop()
            joined = call.goal | goal
            if call.is_wanted and joined == call.goal:
                continue  # and what it reads knows
            call.want()
            call.goal = joined
            for variable in call.reads():
                variable.goal |= joined.upstream()
                if variable.producer is not None:
                    waiting.append((variable.producer, joined.upstream()))

    def _rank(self, call: Call) -> None:
        """A new call makes what it reads more important, and what that reads, and so on."""
        waiting = [call]
        while waiting:
            call = waiting.pop()
            for variable in call.reads():
                before = variable.producer
                if before is not None and before.rank < before.seconds + call.rank:
                    before.rank = before.seconds + call.rank
                    waiting.append(before)

    async def _run(self, call: Call) -> None:
        failure = Failed(CANCELLED, "the call was cancelled").at(None)
        try:
            found = await _worked(call)
            if found is not None:
                failure = found
                await self._keeping.failing(call, failure)
        finally:
            self._end(call, failure)
            self._drop(variable for variable in call.reads() if not variable.is_named)

    def _end(self, call: Call, failure: Failure) -> None:
        """Nothing refers to `call` any more; what it has not made it never will."""
        self._calls.discard(call)
        for output in call.outputs.values():
            output.set(failure)
            output.producer = None
        for variable in call.reads():
            variable.consumers.discard(call)

    def cancel(self, call: Call, why: str) -> None:
        """What it has not made it never will."""
        self._end(call, Failed(CANCELLED, why).at(None))
        if call.task is not None:
            call.task.cancel()

    async def drain(self) -> None:
        """Wait until no call goes on."""
        while tasks := [call.task for call in self._calls if call.task is not None]:
            await asyncio.wait(tasks)

    async def close(self, why: str) -> None:
        """Cancel all calls and fail what they would have made: whoever waits is told `why`."""
        calls, variables = list(self._calls), list(self._variables.values())
        self._variables.clear()
        for variable in variables:
            variable.is_named = False
            if variable.producer is None:
                variable.cancel(why)
        for call in calls:
            self.cancel(call, why)
        tasks = [call.task for call in calls if call.task is not None]
        if tasks:
            await asyncio.wait(tasks)


async def _worked(call: Call) -> Failure | None:
    """Do the work of a call when it is due. Gives why it failed, if it did."""
    try:
        given: dict[str, str] = {}
        for name, source in call.inputs.items():
            outcome = source if isinstance(source, str) else await source.wait()
            if isinstance(outcome, Failure):
                return outcome
            given[name] = outcome
        await call.until_wanted()
        call.has_begun = True
        await call.work(call, given)
    except RunError as error:
        return Failure(error.diagnostic)
    except Failed as failed:
        return failed.at(None)
    except Exception:  # a bug of ours must not leave getters hanging
        _log.exception("a call failed for a reason of our own")
        return Failed("I0001", "something went wrong inside the core").at(None)
    return None

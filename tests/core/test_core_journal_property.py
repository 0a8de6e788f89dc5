"""Whatever a client does in a session, and whenever the core ends: as if nothing had happened."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cores import call, given, made, started
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from keptsessions import TABLES, of, opened, rows
from served import until

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.errors import CoreError
from parrotc.runtime.core.sessions import Session
from parrotc.runtime.core.spaces import _unset
from parrotc.runtime.engines.reference import ReferenceEngine

INDEX = st.integers(0, 6)
STEPS = st.one_of(
    st.tuples(st.just("make"), st.booleans()),
    st.tuples(st.just("set"), INDEX),
    st.tuples(st.just("call"), st.lists(INDEX, max_size=2), st.integers(1, 2), st.none() | INDEX),
    st.tuples(st.just("delete"), INDEX),
    st.tuples(st.just("wait")),
    st.tuples(st.just("restart")),
)


@dataclass
class Client:
    """Does the steps on one core after the other. `names` are its variables as they came."""

    journal: str
    names: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def run(self, steps: Sequence[Any]) -> list[Any]:
        """What becomes of each variable, and what was refused."""
        async with AsyncExitStack() as stack:
            core = await self._core(stack)
            one = await opened(core)
            for number, step in enumerate(steps):
                if step[0] == "restart" and self.journal:
                    await stack.aclose()
                    core = await self._core(stack)
                elif step[0] == "wait":
                    await asyncio.sleep(0.004)
                try:
                    self.names += await self._step(core, of(core, one), number, step)
                except CoreError as error:
                    self.refused.append(f"{number} {error.code} {error.message}")
            found = await self._outcomes(core, of(core, one))
            await self._clear(core, of(core, one))
            return found

    async def _core(self, stack: AsyncExitStack) -> ServeCore:
        return await stack.enter_async_context(
            started(ReferenceEngine(latency=0.002), journal=self.journal)
        )

    async def _step(self, core: ServeCore, session: Session, number: int, step: Any) -> list[str]:
        """The variables that are new."""
        match step:
            case ("make", has_text):
                text = f"text {number}" if has_text else None
                return [(await core.create_variable(session, f"v{number}", text)).id]
            case ("set", index):
                await core.set_variable(session, self._name(index), f"set {number}")
            case ("delete", index):
                await core.delete_variable(session, self._name(index))
            case ("call", inputs, outputs, into):
                return await self._call(core, session, number, (inputs, outputs, into))
        return []

    async def _call(
        self, core: ServeCore, session: Session, number: int, how: tuple[list[int], int, int | None]
    ) -> list[str]:
        inputs, outputs, into = how
        read = [given(f"i{at}", var=self._name(index)) for at, index in enumerate(inputs)]
        drawn: Any = [made(f"o{at}", 6, temperature=1.0, seed=number) for at in range(outputs)]
        if into is not None:
            drawn[0]["var_id"] = self._name(into)
        words = " and ".join(f"{{{{{one['name']}}}}}" for one in (*read, *drawn))
        view = await call(core, session, f"Of {words}.", *read, *drawn)
        new = [one for one in view.parameters if one.is_output][into is not None :]
        return [one.var_id for one in new]

    def _name(self, index: int) -> str:
        return self.names[index % len(self.names)] if self.names else "none"

    async def _outcomes(self, core: ServeCore, session: Session) -> list[Any]:
        graph = core._spaces[session.id]._graph
        await until(lambda: all(v.is_settled or _unset(v) is not None for v in graph), 20)
        found: dict[str, Any] = {}
        for view in core.variables(session):
            cause = view.diagnostic and (view.diagnostic.code, view.diagnostic.message)
            found[view.id] = (view.name, view.content, cause)
        return [found.get(name) for name in self.names]

    async def _clear(self, core: ServeCore, session: Session) -> None:
        for view in core.variables(session):
            await core.delete_variable(session, view.id)
        await until(lambda: not core.stats()["calls"])


@settings(max_examples=40, deadline=None)
@drawn(steps=st.lists(STEPS, max_size=14))
def test_it_is_as_if_nothing_had_happened(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        journal = str(Path(folder) / "runs.db")
        plain, cut = Client(""), Client(journal)
        expected = asyncio.run(plain.run(steps))
        assert asyncio.run(cut.run([*steps, ("restart",)])) == expected
        assert cut.refused == plain.refused
        assert rows(journal) == dict.fromkeys(TABLES, 0) | {"sessions": 1}

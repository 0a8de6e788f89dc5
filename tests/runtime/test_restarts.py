"""A generation that begins anew while others read it: what was told before counts for nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from fakes import StrictEngine
from plans import executor_of, plan_of

from parrotc.runtime.engines.protocol import FillRequest, Finished, GenerateRequest, Piece
from parrotc.runtime.trace import Event, Trace
from parrotc.runtime.variables import Variable

MODEL = 'model @m = reference ""'
TEXT = """
  flow @main(%q: str) -> str {
    %c = context.open @m
    %c1 = context.fill %c, %q
    %c2, %draft = context.gen %c1 site "main.0/0" : str
    %d = context.open @m
    %d1 = context.fill %d, ids[1] "a", "Improve: "
    %d2 = context.fill %d1, %draft, "!" {stream = true}
    %d3, %r = context.gen %d2 site "main.1/0" : str
    return %r
  }
"""
IDS = """
  flow @main(%q: str) -> str {
    %c = context.open @m
    %c1 = context.fill %c, %q
    %c2, %draft = context.gen %c1 site "main.0/0" : str
    %d = context.open @m
    %d1 = context.fill %d, ids[1] "a", "Improve: "
    %ids = apply ids[model = "m"](%draft) : list<int>
    %d2 = context.fill %d1, %ids, "Go on." {stream = true}
    %d3, %r = context.gen %d2 site "main.1/0" : str
    return %r
  }
"""


WRONG = "x" * 20


class Wavering(StrictEngine):
    """Says something long first, and then, if it `wavers`, that it was not meant."""

    def __init__(self, wavers: bool) -> None:
        super().__init__()
        self.wavers = wavers
        self.early: list[bytes] = []  # whole sequences that were filled early

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        await super().fill(requests)
        self.early += [bytes(self.live[one.context]) for one in requests if one.early]

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        if self.wavers:
            yield Piece(WRONG, tuple(WRONG.encode()))
            await asyncio.sleep(0.02)
        is_first = self.wavers
        async for item in super().generate(request):
            if isinstance(item, Finished):
                ids, text = item.ids[: item.kept], item.text
                yield Piece(text, ids if text == self.tokenizer.decode(list(ids)) else (), is_first)
                await asyncio.sleep(0.02)
                yield item


@pytest.mark.parametrize("flow", [TEXT, IDS], ids=["text", "ids"])
async def test_a_prompt_that_reads_it_is_what_it_would_have_been(
    flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("pipes.STEP", "pipes.EARLY", "prompts.EARLY"):  # these texts are short
        monkeypatch.setattr(f"parrotc.runtime.{place}", 4)
    results, seen = [], []
    for wavers in (False, True):
        engine = Wavering(wavers)
        events: list[Event] = []
        executor = executor_of(plan_of(f"module @x {{\n{MODEL}\n{flow}\n}}\n"), engine)
        results.append(await executor.run("main", {"q": "Q"}, trace=Trace(events.append)))
        seen.append(engine.seen)
        await executor.close()
        assert engine.live == {}
        wrong = b"\1Improve: " + WRONG.encode()
        assert [ids for ids in engine.early if WRONG.encode() in ids] == [wrong] * wavers
        assert engine.early[-1].endswith(bytes(engine.seen[0].ids)), "what came instead flows too"
        told = [event.kind for event in events if event.kind in ("text", "restart")]
        assert told == (["text", "restart"] if wavers else ["text"]) * 2
    assert results[0] == results[1] and seen[0] == seen[1]


def test_who_comes_later_hears_only_what_counts() -> None:
    variable, early, late = Variable("v"), [], []
    variable.watch(early.append)
    pieces = [Piece("a"), Piece("b", restart=True), Piece("c")]
    for piece in pieces:
        variable.tell(piece)
    variable.watch(late.append)
    assert early == pieces and late == pieces[1:]

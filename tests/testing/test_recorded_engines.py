"""What was recorded comes back as it was: to the piece, the id and the score."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from plans import module_plan
from programs import NATIVES, random_args, random_module
from served import Lazy
from templates import TEMPLATES, family

from parrotc.passes.table import PIPELINES
from parrotc.passes.table import run as run_passes
from parrotc.passes.target import Target
from parrotc.runtime.chat import renderer
from parrotc.runtime.engines.protocol import (
    Constraint,
    Engine,
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.engines.recorded import RecordingEngine, ReplayEngine
from parrotc.runtime.engines.recording import RecordedModel, Recorder, read
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.errors import RunError
from parrotc.runtime.executor import Executor
from parrotc.runtime.natives import Natives
from parrotc.runtime.tokenizer import ByteTokenizer

MODEL = RecordedModel.of("reference", "", ByteTokenizer(), None)
REQUESTS = [
    GenerateRequest(2, 1, Sampling(max_tokens=12)),
    GenerateRequest(2, 1, Sampling(max_tokens=13)),
    GenerateRequest(2, 1, Sampling(max_tokens=12, stop=("a", "\n"))),
    GenerateRequest(2, 1, Sampling(max_tokens=12, temperature=0.7, key=5)),
    GenerateRequest(2, 1, Sampling(max_tokens=12, temperature=0.7, key=6)),
    GenerateRequest(2, 1, Sampling(max_tokens=12, logprobs=2)),
    GenerateRequest(2, 1, Sampling(), Constraint(choices=("yes", "no"), scored=True)),
    GenerateRequest(2, 1, Sampling(), Constraint(choices=("yes", "no"))),
    GenerateRequest(2, 1, Sampling(), Constraint(regex="[0-9]{2}")),
    GenerateRequest(2, 1, Sampling(), Constraint(json_schema='{"type":"integer"}')),
]
PROMPTS = ["", "Say it.", "Say it!", "日本語 \U0001f600\x00"]


async def answer(engine: Engine, prompt: str, request: GenerateRequest) -> list[Piece | Finished]:
    """Everything the engine says; nothing is left in it."""
    ids = tuple(prompt.encode())
    await engine.fill([FillRequest(7, None, ids[:3]), FillRequest(1, 7, ids[3:])])
    items = [item async for item in engine.generate(request)]
    await engine.free([7, 1, 2])
    return items


async def test_each_answer_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    recording = RecordingEngine(ReferenceEngine(), Recorder(path, MODEL))
    said = [await answer(recording, p, r) for p in PROMPTS for r in REQUESTS]
    replay = ReplayEngine(read(path), MODEL)
    again = [await answer(replay, p, r) for p in PROMPTS for r in reversed(REQUESTS)]
    plain = [await answer(ReferenceEngine(), p, r) for p in PROMPTS for r in REQUESTS]
    assert said == plain
    rows = [again[n : n + len(REQUESTS)][::-1] for n in range(0, len(again), len(REQUESTS))]
    assert [items for row in rows for items in row] == plain
    for engine in (recording, replay):
        info = await engine.ping()
        assert (info.contexts, info.cached_tokens) == (0, 0)


async def test_a_text_goes_on_after_what_was_generated(tmp_path: Path) -> None:
    """Contexts that a generation made are known, in the recording engine and in the replay."""
    path = tmp_path / "answers.jsonl"
    ends = []
    for make in (
        lambda: RecordingEngine(ReferenceEngine(), Recorder(path, MODEL)),
        lambda: ReplayEngine(read(path), MODEL),
    ):
        engine: Engine = make()
        await engine.fill([FillRequest(1, None, (65, 66))])
        first = [i async for i in engine.generate(GenerateRequest(2, 1, Sampling(max_tokens=5)))]
        await engine.free([1])
        await engine.fill([FillRequest(3, 2, (67,))])
        last = [i async for i in engine.generate(GenerateRequest(4, 3, Sampling(max_tokens=5)))]
        ends.append((first, last))
    assert ends[0] == ends[1]


async def test_a_generation_that_is_given_up_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    engine = RecordingEngine(ReferenceEngine(), Recorder(path, MODEL))
    await engine.fill([FillRequest(1, None, (65,))])
    pieces: Any = engine.generate(GenerateRequest(2, 1, Sampling(max_tokens=50)))
    await anext(pieces)
    await pieces.aclose()
    assert not read(path).answers
    await engine.free([1])
    assert (await engine.ping()).contexts == 0
    with pytest.raises(EngineError, match="no context 2"):
        await engine.free([2])


async def test_a_restart_is_no_part_of_the_answer(tmp_path: Path) -> None:
    """Pieces that an engine has taken back are not said again."""

    class Restarting(ReferenceEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
            yield Piece("lost")
            first = True
            async for item in super().generate(request):
                if first and isinstance(item, Piece):
                    item, first = Piece(item.text, item.ids, restart=True), False
                yield item

    path = tmp_path / "answers.jsonl"
    await answer(RecordingEngine(Restarting(), Recorder(path, MODEL)), "x", REQUESTS[0])
    again = await answer(ReplayEngine(read(path), MODEL), "x", REQUESTS[0])
    *pieces, finished = again
    assert isinstance(finished, Finished)
    assert "".join(piece.text for piece in pieces) == finished.text


async def test_hurrying_reaches_the_engine(tmp_path: Path) -> None:
    lazy = Lazy()
    engine = RecordingEngine(lazy, Recorder(tmp_path / "answers.jsonl", MODEL))
    filling = asyncio.create_task(engine.fill([FillRequest(1, None, (65,), early=True)]))
    await asyncio.sleep(0)
    await engine.hurry([1])
    await asyncio.wait_for(filling, 5)
    plain = RecordingEngine(ReferenceEngine(), Recorder(tmp_path / "answers.jsonl", MODEL))
    await plain.hurry([1])  # an engine that lets nothing wait has nothing to hurry


# --- whole programs ---


class Program:
    """A random program with inputs, compiled for engines that are given."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        self.module = random_module(rng)
        models = {m.name: family(rng.choice(list(TEMPLATES))) for m in self.module.models}
        self.target = Target(models)
        self.args = random_args(rng, self.module.flows[0])

    def recorded(self, name: str) -> RecordedModel:
        return RecordedModel.of("random", name, self.target.models[name].tokenizer, None)

    async def outcome(self, level: str, engines: Mapping[str, Engine]) -> Any:
        """The result, or the code of the failure."""
        models = self.target.models.items()
        optimised = run_passes(self.module, self.target, PIPELINES[level])
        executor = Executor(
            module_plan(optimised, level=self.module, target=self.target),
            engines,
            Natives([], lambda target: NATIVES[target.partition(":")[2]]),
            renders={n: renderer(m.render, m.tokenizer.specials) for n, m in models},
        )
        try:
            return await executor.run("main", self.args, seed=3)
        except RunError as error:
            return error.diagnostic.code
        finally:
            await executor.close()


@pytest.mark.parametrize("block", range(3))
async def test_random_programs_replay_without_an_engine(block: int, tmp_path: Path) -> None:
    """Also at another level: every call sees the same tokens there."""
    succeeded = 0
    for seed in range(block * 12, block * 12 + 12):
        program = Program(seed)
        path = tmp_path / f"{seed}.jsonl"
        names = list(program.target.models)
        recording = {}
        for name in names:
            engine = ReferenceEngine(program.target.models[name].tokenizer)
            recording[name] = RecordingEngine(engine, Recorder(path, program.recorded(name)))
        expected = await program.outcome("O1", recording)
        if is_code(expected):
            continue  # what a failure has stopped was not recorded, and may be asked now
        succeeded += 1
        for level in ("O1", "O0"):
            held = read(path)
            replay = {n: ReplayEngine(held, held.model("random", n)) for n in names}
            assert await program.outcome(level, replay) == expected, (seed, level)
    assert succeeded > 4


def is_code(outcome: Any) -> bool:
    return isinstance(outcome, str) and outcome.startswith("E06")

"""What a plan knows of the future reaches the engine that runs it, and is worth something there."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fakes import StrictEngine  # noqa: E402
from plans import TOKENS, executor_of, module_plan  # noqa: E402

from parrotc.ir.parser import parse_module  # noqa: E402
from parrotc.ir.source import Source  # noqa: E402
from parrotc.passes.table import run  # noqa: E402
from parrotc.passes.target import ModelTarget, Target  # noqa: E402
from parrotc.runtime.engines.embedded.engine import EmbeddedEngine, open_embedded  # noqa: E402
from parrotc.runtime.engines.embedded.planner import Plan as Batch  # noqa: E402
from parrotc.runtime.engines.protocol import FillRequest  # noqa: E402
from parrotc.runtime.plan import Plan  # noqa: E402

BLOCK = 16
OWN = 64  # tokens of an agent's prompt
ROUNDS = 12
ROOM = 5  # agents whose prompts fit


def plan_of(flow: str, prefixes: str = "") -> Plan:
    text = f'module @agents {{\n model @m = embedded ""\n {prefixes}\n {flow}\n}}'
    source = Source("agents.pir", text)
    target = Target({"m": ModelTarget(TOKENS, None)})
    return module_plan(run(parse_module(source), target, ["estimate", "lifetimes"]), source)


def cycles(*parts: int) -> Plan:
    """In each part so many agents, with a long prompt each, take turns round after round."""
    prefixes: list[str] = []
    folds: list[str] = []
    for number, count in enumerate(parts):
        turns = ""
        for n in range(len(prefixes), len(prefixes) + count):
            ids = ", ".join(str(20 + (7 * n + at) % 200) for at in range(OWN))
            prefixes.append(f'prefix @a{n} on @m = ids[{ids}] "agent {n}"')
            turns += f"""
              %o{n} = context.open @m prefix @a{n}
              %c{n} = context.fill %o{n}, ids[5, 6] "x"
              %d{n}, %t{n} = context.gen %c{n} site "main.{n}/0" (max_tokens = 1) : str"""
        start = f"r{number - 1}" if number else "start"
        folds.append(f"""
            %r{number} = fold (%x{number}: int, %i{number}: int, %l{number}: str)
                in %rounds from %{start} : str {{
              {turns}
              yield %t{len(prefixes) - 1}
            }}""")
    body = f"{''.join(folds)}\n return %r{len(parts) - 1}"
    return plan_of(
        f"flow @main(%rounds: list<int>, %start: str) -> str {{\n{body}\n}}", "\n".join(prefixes)
    )


def blind(plan: Plan) -> Plan:
    """The same plan, which tells nothing of when its prefixes are used again."""
    return replace(plan, prefixes=tuple(replace(one, notes={}) for one in plan.prefixes))


async def computed(folder: Path, plan: Plan, rounds: int) -> int:
    """How many tokens the model computes for a run, with room for `ROOM` agents' prompts and for
    what is read and said in the turn that runs."""
    engine = open_embedded(
        str(folder), threads=1, block_size=BLOCK, max_total_tokens=ROOM * OWN + 2 * BLOCK
    )
    tokens = _counted(engine)
    executor = executor_of(plan, engine, width=1)
    try:
        await executor.run("main", {"rounds": [0] * rounds, "start": ""})
    finally:
        await executor.close()
        await engine.close()
    return sum(tokens)


def _counted(engine: EmbeddedEngine) -> list[int]:
    tokens: list[int] = []
    compute = engine._runner.run

    def run(batch: Batch) -> torch.Tensor:
        tokens.append(sum(one.count for one in batch.slices))
        return compute(batch)

    engine._runner.run = run  # type: ignore[method-assign]
    return tokens


async def test_agents_in_a_cycle(tiny_folder: Path) -> None:
    """Ten agents with room for five: near Bélády's (C - 1) / (N - 1) of prompts are found."""
    plan, turns = cycles(10), 10 * ROUNDS
    knowing, unknowing = [await computed(tiny_folder, p, ROUNDS) for p in (plan, blind(plan))]
    found = 1 - (knowing - 10 * OWN) / (turns * OWN)
    assert found > 0.95 * 4 / 9
    assert knowing < 0.9 * unknowing


async def test_agents_of_a_part_that_is_over_give_way(tiny_folder: Path) -> None:
    """Five agents and then five others. That the first do not come again is noticed soon: it costs
    less than another round, where whoever knew nothing had no need to notice."""
    plan, turns = cycles(5, 5), 10 * ROUNDS
    least = 10 * OWN + 2 * turns
    assert await computed(tiny_folder, blind(plan), ROUNDS) == least
    assert await computed(tiny_folder, plan, ROUNDS) < least + 5 * OWN


# --- what is told ---


class Told(StrictEngine):
    """Keeps what it hears of the future."""

    def __init__(self) -> None:
        super().__init__()
        self.next_uses: dict[tuple[int, ...], float | None] = {}
        self.ids: dict[int, tuple[int, ...]] = {}
        self.dead: list[tuple[int, ...]] = []

    async def fill(self, requests) -> None:
        for request in requests:
            assert isinstance(request, FillRequest)
            self.next_uses[request.ids] = request.next_use
            self.ids[request.context] = request.ids
        await super().fill(requests)

    async def free(self, contexts, dead: bool = False) -> None:
        self.dead += [self.ids[one] for one in contexts if dead and one in self.ids]
        await super().free(contexts, dead)


FLOW = """
  flow @main(%doc: str, %parts: list<str>) -> list<str> {
    %o = context.open @m
    %head = context.fill %o, ids[256, 1] "<"
    %c = context.fill %head, %doc, ids[256, 2] ">"
    %l = map (%part: str, %i: int) in %parts : list<str> {
      %c1 = context.fill %c, %part, ids[256, 3] ">"
      %c2, %a = context.gen %c1 site "main.0/0" (max_tokens = 2) : str
      %d1 = context.fill %c, "say ", %part
      %d2, %d = context.gen %d1 site "main.2/0" (max_tokens = 2) : str
      %k = context.fill %head, ids[9] "k"
      %k2, %b = context.gen %k site "main.1/0" (max_tokens = 2) : str
      %ab = apply add(%a, %b) : str
      yield %ab
    }
    return %l
  }
"""


async def test_what_belongs_to_a_round_is_dead_after_it() -> None:
    """Not what is constant, which the next run reads too, nor what is read once for all rounds."""
    engine = Told()
    executor = executor_of(plan_of(FLOW), engine)
    await executor.run("main", {"doc": "dddd", "parts": ["x", "yy"]})
    await executor.close()
    texts = [tuple(b"say x"), tuple(b"say yy")]
    assert sorted(engine.dead) == [*texts, (120, 256, 3), (121, 121, 256, 3)]


async def test_distances_are_told_with_the_fill() -> None:
    engine = Told()
    executor = executor_of(plan_of(FLOW), engine)
    await executor.run("main", {"doc": "dddd", "parts": ["x"]})
    await executor.close()
    told = {ids[:2]: use for ids, use in engine.next_uses.items()}
    assert told[256, 1] == 2, "by the document, and then by the last call of each round"
    assert told[100, 100] == 1, "by the first two calls of a round"
    assert told[120, 256] is None

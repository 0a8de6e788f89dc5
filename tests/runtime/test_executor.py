"""The executor: what a prompt holds, and what runs when."""

import time

from executed import CALL, NATIVE, SHARED, program, run
from fakes import ByteTokens, StrictEngine
from plans import executor_of

# --- prompts ---


async def test_a_call_sees_exactly_its_prompt() -> None:
    engine = StrictEngine()
    await run(program(CALL), engine, text="é<s>")
    (seen,) = engine.seen
    assert seen.prompt == (300, 301, *"Say: é<s>".encode(), 302, *b"\n")


async def test_text_between_hard_boundaries_is_one_string() -> None:
    """Across fills too: a tokenizer that joins letters must see them side by side."""

    class Pairs:
        fingerprint, bos, specials = "pairs", None, {}

        def encode(self, text: str) -> list[int]:
            return [ord(a) * 1000 + (ord(b[0]) if b else 0) for a, b in _pairs(text)]

        def decode(self, ids: list[int]) -> str:
            return "".join(chr(i // 1000) + (chr(i % 1000) if i % 1000 else "") for i in ids)

        def stable_prefix(self, text: str) -> list[int]:
            return self.encode(text)[:-1]

    def _pairs(text: str) -> list[tuple[str, str]]:
        return [(text[n], text[n + 1 : n + 2]) for n in range(0, len(text), 2)]

    flow = """
      flow @main(%a: str) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, "x", %a
        %c2 = context.fill %c1, "yz"
        %c3, %out = context.gen %c2 site "main.0/0" name "" (max_tokens = 1) : str
        return %out
      }
    """
    engine = StrictEngine(Pairs())
    await run(program(flow), engine, a="b")
    assert engine.seen[0].prompt == tuple(Pairs().encode("xbyz"))


async def test_an_empty_mark_is_a_boundary_and_no_token() -> None:
    """It says that no BOS belongs in front: the template begins with a content."""
    flow = """
      flow @main(%a: str) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, ids[] "", %a, ids[301] "</s>"
        %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 1) : str
        return %out
      }
    """
    engine = StrictEngine()
    await run(program(flow), engine, a="bc")
    assert engine.seen[0].prompt == (*b"bc", 301)


async def test_ids_that_were_certain_and_changed_are_not_used() -> None:
    """A tokenizer may be wrong about what is stable; the whole decides."""

    class Liar(ByteTokens):
        def encode(self, text: str) -> list[int]:
            return [len(text), *super().encode(text)]

        def stable_prefix(self, text: str) -> list[int]:
            return self.encode(text)

    engine = StrictEngine(Liar())
    await run(program(SHARED), engine, doc="long " * 10, n=2)
    text = f"The document:\n{'long ' * 10}\nQuestion "
    assert {seen.prompt for seen in engine.seen} == {
        (300, *Liar().encode(f"{text}{n}")) for n in range(2)
    }


async def test_a_shared_value_is_filled_once() -> None:
    engine, doc = StrictEngine(), "long " * 200
    outs = await run(program(SHARED), engine, doc=doc, n=10)
    assert len(outs) == 10
    assert engine.filled < 1.3 * len(doc)
    assert {bytes(seen.prompt[1:]).decode() for seen in engine.seen} == {
        f"The document:\n{doc}\nQuestion {n}" for n in range(10)
    }


async def test_nothing_is_filled_for_a_branch_not_taken() -> None:
    flow = """
      flow @main(%go: bool) -> str {
        %c0 = context.open @local
        %c1 = context.fill %c0, ids[1, 2, 3] "abc"
        %no = const "no" : str
        %r = if %go : str {
          %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 3) : str
          yield %out
        } else {
          yield %no
        }
        return %r
      }
    """
    engine = StrictEngine()
    assert await run(program(flow), engine, go=False) == "no"
    assert engine.filled == 0
    await run(program(flow), engine, go=True)
    assert engine.filled == 3


async def test_a_prefix_of_the_plan_stays_between_runs_and_goes_with_the_executor() -> None:
    flow = """
      prefix @p on @local = ids[1, 2, 3] "abc"
      prefix @q on @local after @p = ids[4] "d"
      flow @main(%t: str) -> str {
        %c0 = context.open @local prefix @q
        %c1 = context.fill %c0, %t
        %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 3) : str
        return %out
      }
    """
    engine = StrictEngine()
    executor = executor_of(program(flow), engine)
    for text in ("x", "y"):
        await executor.run("main", {"t": text})
        assert sorted(engine.live.values()) == [(1, 2, 3), (1, 2, 3, 4)]
    assert engine.filled == 4 + 2
    assert [seen.prompt for seen in engine.seen] == [(1, 2, 3, 4, ord(t)) for t in "xy"]
    await executor.close()
    assert engine.live == {}


# --- data flow ---

FOUR = """
  flow @main(%n: int) -> list<int> {
    %a = native @nap(%n) effectful : int
    %b = native @nap(%n) effectful : int
    %items = apply list(%a, %b) : list<int>
    %outs = map (%item: int, %at: int) in %items : list<int> {
      %o = native @nap(%item) effectful : int
      yield %o
    }
    return %outs
  }
"""


async def test_what_does_not_depend_runs_at_the_same_time() -> None:
    def nap(n: int) -> int:
        time.sleep(0.2)
        return n

    executor = executor_of(program(FOUR, NATIVE.format("nap")), functions={"externs:nap": nap})
    began = time.monotonic()
    assert await executor.run("main", {"n": 3}) == [3, 3]
    assert time.monotonic() - began < 0.7  # two steps of 0.2 s, not four


async def test_the_width_of_a_map_is_bounded_and_nested_maps_do_not_wait_for_each_other() -> None:
    flow = """
      flow @main(%n: int) -> list<list<int>> {
        %items = apply range(%n) : list<int>
        %outs = map (%i: int, %a: int) in %items : list<list<int>> {
          %row = map (%j: int, %b: int) in %items : list<int> {
            %o = native @count(%j) effectful : int
            yield %o
          }
          yield %row
        }
        return %outs
      }
    """
    running, most = 0, 0

    def count(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.005)
        running -= 1
        return n

    plan = program(flow, NATIVE.format("count"))
    executor = executor_of(plan, functions={"externs:count": count}, width=2)
    assert await executor.run("main", {"n": 5}) == [[0, 1, 2, 3, 4]] * 5
    assert most <= 4


async def test_a_fold_carries_and_stops_early() -> None:
    flow = """
      flow @main(%n: int) -> int {
        %items = apply range(%n) : list<int>
        %zero = const 0 : int
        %limit = const 10 : int
        %sum = fold (%item: int, %at: int, %so: int) in %items from %zero early : int {
          %next = apply add(%so, %item) : int
          %on = apply lt(%next, %limit) : bool
          yield %on, %next
        }
        return %sum
      }
    """
    assert await run(program(flow), n=100) == 10
    assert await run(program(flow), n=3) == 3


async def test_steps_with_effects_run_once_even_if_unused() -> None:
    calls: list[int] = []

    def tell(n: int) -> int:
        time.sleep(0.05)
        calls.append(n)
        return n

    flow = """
      flow @main(%n: int) -> int {
        %x = native @tell(%n) effectful : int
        %y = native @tell(%x) effectful : int
        return %n
      }
    """
    plan = program(flow, NATIVE.format("tell"))
    await executor_of(plan, functions={"externs:tell": tell}).run("main", {"n": 1})
    assert calls == [1, 1]

"""How failures travel in the executor: with cause and place, and no further than they must."""

import re
import time
from typing import Any

import pytest
from executed import CALL, NATIVE, program, run
from fakes import StrictEngine
from plans import executor_of

from parrotc.runtime.errors import RunError
from parrotc.runtime.plan import Plan


def picky_map(step: str) -> Plan:
    flow = f"""
      flow @main(%n: int) -> list<int?> {{
        %items = apply range(%n) : list<int>
        %outs = map (%item: int, %at: int) in %items : list<int?> {{
          {step}
          yield %o
        }}
        return %outs
      }}
    """
    return program(flow, NATIVE.format("picky"))


PLAIN = picky_map("%o = native @picky(%item) effectful : int?")
TOLERANT = picky_map(
    "%o = attempt retries 0 tolerant : int? {\n"
    "  %p = native @picky(%item) effectful : int\n  yield %p\n}"
)


async def test_one_failed_item_fails_the_map_with_its_cause_and_place() -> None:
    with pytest.raises(RunError, match="`picky` raised LookupError: not 77") as caught:
        await run(PLAIN, n=200)
    diagnostic = caught.value.diagnostic
    assert diagnostic.code == "E0601"
    assert diagnostic.span is not None and "native @picky" in diagnostic.span.text()


async def test_nothing_that_was_finished_is_lost() -> None:
    executor = executor_of(PLAIN)
    with pytest.raises(RunError) as caught:
        await executor.run("main", {"n": 200}, keep=True)
    kept = caught.value.finished["outs"]
    assert kept["missing"] == [77]
    assert kept["items"] == [None if n == 77 else n for n in range(200)]
    await executor.close()


async def test_a_tolerated_failure_is_none() -> None:
    outs = await run(TOLERANT, n=200)
    assert outs == [None if n == 77 else n for n in range(200)]


async def test_a_failure_stops_the_rest_of_the_run() -> None:
    calls: list[int] = []

    def picky(n: int) -> int:
        calls.append(n)
        if n == 0:
            raise ValueError("no")
        time.sleep(0.01)
        return n

    executor = executor_of(PLAIN, functions={"externs:picky": picky}, width=4)
    with pytest.raises(RunError):
        await executor.run("main", {"n": 10_000})
    assert len(calls) < 100


async def test_a_fold_may_replace_a_value_that_failed() -> None:
    flow = """
      flow @main(%n: int) -> int {
        %empty = const [] : list<int>
        %bad = apply index(%empty, %n) : int
        %items = apply range(%n) : list<int>
        %last = fold (%item: int, %at: int, %so: int) in %items from %bad : int {
          %next = apply add(%item, %n) : int
          yield %next
        }
        return %last
      }
    """
    assert await run(program(flow), n=3) == 5
    with pytest.raises(RunError, match="index 0 is outside a list of 0"):
        await run(program(flow), n=0)


async def test_a_retry_draws_again() -> None:
    flow = """
      flow @main(%t: str) -> int(ge=1, le=3) {
        %o = attempt retries 5 : int(ge=1, le=3) {
          %c0 = context.open @local
          %c1, %out = context.gen %c0 site "main.0/0" name "" (temperature = 1.0, max_tokens = 9) : int(ge=1, le=3)
          %zero = const [0] : list<int>
          %one = const 1 : int
          %index = apply sub(%out, %one) : int
          %first = apply index(%zero, %index) : int
          yield %out
        }
        return %o
      }
    """  # noqa: E501
    engine = StrictEngine()
    await run(program(flow), engine, t="")
    keys = [seen.key for seen in engine.seen]
    assert len(set(keys)) == len(keys)


async def test_a_failure_inside_arithmetic_names_the_place() -> None:
    flow = """
      flow @main(%xs: list<int>) -> int {
        %five = const 5 : int
        %x = apply index(%xs, %five) : int
        %y = apply add(%x, %five) : int
        return %y
      }
    """
    with pytest.raises(RunError, match="index 5 is outside a list of 2") as caught:
        await run(program(flow), xs=[1, 2])
    assert caught.value.diagnostic.code == "E0606"
    assert caught.value.diagnostic.span.text().startswith("%x = apply index")  # type: ignore[union-attr]


async def test_a_prompt_longer_than_the_context() -> None:
    plan = program(CALL)
    executor = executor_of(plan)
    with pytest.raises(RunError, match=re.escape("holds 8,192")) as caught:
        await executor.run("main", {"text": "x" * 9000})
    assert caught.value.diagnostic.code == "E0604"
    assert "the prompt has 9,009 tokens" in str(caught.value)
    assert "context.gen" in caught.value.diagnostic.span.text()  # type: ignore[union-attr]


async def test_a_structured_output_cut_by_its_limit() -> None:
    flow = CALL.replace("-> str", "-> list<int>").replace("12) : str", "1) : list<int>")
    with pytest.raises(RunError, match="cut by its limit of 1 tokens") as caught:
        await run(program(flow), text="")
    assert caught.value.diagnostic.code == "E0605"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "the input `text` is missing"),
        ({"text": 3}, "text: an int where `str` was expected"),
        ({"text": "a", "more": 1}, "`main` has no input `more`"),
    ],
)
async def test_inputs_are_checked(args: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        await run(program(CALL), **args)
    assert caught.value.diagnostic.code == "E0607"

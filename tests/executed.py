"""Plans of one flow, written as IR, and run to the end on an engine that keeps count."""

from typing import Any

from fakes import StrictEngine
from plans import executor_of, plan_of

from parrotc.runtime.plan import Plan

MODEL = 'model @local = reference "chatml"'
NATIVE = 'native @{0}(%n: int) -> int = "externs:{0}" effectful timeout 20.0'
CALL = """
  flow @main(%text: str) -> str {
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[300, 301] "<s>", "Say: ", %text, ids[302] "</s>", "\\n"
    context.free %c0
    %c2, %out = context.gen %c1 site "main.0/0" name "" (max_tokens = 12) : str
    context.free %c1
    context.free %c2
    return %out
  }
"""
SHARED = """
  flow @main(%doc: str, %n: int) -> list<str> {
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[300] "<s>", "The document:\\n", %doc
    %items = apply range(%n) : list<int>
    %outs = map (%item: int, %at: int) in %items : list<str> {
      %shown = apply show(%item) : str
      %c2 = context.fill %c1, "\\nQuestion ", %shown
      %c3, %out = context.gen %c2 site "main.0/0" name "" (max_tokens = 5) : str
      yield %out
    }
    return %outs
  }
"""


def program(flow: str, declarations: str = "") -> Plan:
    return plan_of(f"module @m {{\n{MODEL}\n{declarations}\n{flow}\n}}\n")


async def run(plan: Plan, engine: Any = None, /, **args: Any) -> Any:
    """Run `main`, and see that the engine is left empty."""
    engine = engine or StrictEngine()
    executor = executor_of(plan, engine)
    try:
        return await executor.run("main", args)
    finally:
        assert engine.live == {}
        await executor.close()

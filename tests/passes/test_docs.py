"""The examples of docs/ir-and-passes.md are what the passes really do."""

import re
from pathlib import Path
from textwrap import indent

import pytest
from templates import target_of

from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.passes.table import ORDER, PASSES, run

PAGE = (Path(__file__).parents[2] / "docs" / "ir-and-passes.md").read_text("utf-8")
EXAMPLES = dict(
    (name, (before, after))
    for name, before, name_again, after in re.findall(
        r"```pir before (\S+)\n(.*?)```\n```pir after (\S+)\n(.*?)```", PAGE, re.DOTALL
    )
    if name == name_again
)
AROUND = """module @m {
  model @m = reference ""
  native @look(%text: str) -> str = "app:look" pure timeout 60.0
  native @log(%text: str) -> str = "app:log" effectful timeout 60.0
  function @ask(%c: context, %q: str) -> ("") {
    %c1 = context.message %c "user"
    %c2 = context.fill %c1, "Why ", %q
    %c3 = context.end %c2
    %c4 = context.message %c3 "assistant"
    %c5, %d = context.gen %c4 site "0" (temperature = 0.8) : str
    yield %d
  }
  flow @main(%q: str, %xs: list<str>) -> str {
BODY  }
}
"""


def test_every_pass_has_an_example_in_the_order_of_the_pipeline() -> None:
    assert list(EXAMPLES) == list(dict.fromkeys(ORDER)) == list(PASSES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    before, after = EXAMPLES[name]
    module = parse_module(Source("page", AROUND.replace("BODY", before)))
    done = print_module(run(module, target_of(module), (name,)))
    flow = done[done.index("flow @main") :]
    assert indent(after, "    ") in flow

"""Random flows: what the checker accepts can be lowered, verified and run, and gives its type.

Flows are written as text from statements that bind and read a few names of different types, some of
them optional, with branches and loops around. Wrong ones only have to say so.
"""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from parrotc.check.check import check
from parrotc.check.loader import file_loader
from parrotc.ir.diagnostic import Level
from parrotc.ir.evaluate import evaluate
from parrotc.ir.source import Source
from parrotc.ir.verify import verify
from parrotc.lower import lower
from parrotc.passes.target import Target

HEAD = """
enum Topic:
    A
    B
    C

class Doc:
    text: str
    note: str?

extern def find(key: str) -> Doc? = "app:find"

"""

# `d` is a Doc?, `n` an int, `s` a str, `xs` a list[str], `t` a Topic, `m` a str?
EXPRESSIONS = [
    "n = n + 1", "n = len(xs) * n", "n = n if n < 50 else 0", "s = s + str(n)", "s = s[:5]",
    "s = d.text if d != None else s", "s = d.note if d != None and d.note != None else s",
    "xs = xs + [s]", "xs = [x for x in xs if x != s]", "xs = xs[1:]", "xs = []", "d = find(s)",
    "d = None", 'd = {text: s, note: None}', "m = None", "m = s", "s = m if m != None else s",
    "t = Topic.B if n > 2 else t", "n = n / 2", "fresh = n", "fresh = xs", "fresh = d",
    'm = d.note if d != None else "none"', "s = m", "s, n = s + s[:1], n + 1",
    "ds = [find(x) for x in xs]", "xs = [d.text for d in ds if d != None]",
]  # fmt: skip
CONDITIONS = [
    "n > 1", "s in xs", "d == None", "d != None and d.text != s", "t == Topic.B", "m != None",
    "not (m == None or n == 0)", "d != None and d.note != None",
]  # fmt: skip
INSIDE = ["s = d.text", "s = d.note", "s = m", "n = n + len(m)", "d = {text: d.text, note: s}"]
# Some are wrong: they use what a condition, a loop or an early end does not promise.
SNIPPETS = [
    ["if d != None and d.note != None:", "    d = {text: s, note: None}", "    s = d.note"],
    ["if d != None and d.note != None:", "    if n > 1:", "        d = {text: s, note: None}",
     "        s = d.note"],
    ["if d == None or d.note == None:", "    s = d.text"],
    ["if d == None or d.text == s:", "    s = s + s", "else:", "    s = d.text"],
    ["if not (d != None and n > 1):", "    s = d.text"],
    ["if m == None:", "    m = s", "s = m"],
    ["if d != None:", "    s = s[1:]", "else:", "    s = d.text"],
    ["k = 0", "for x in xs:", "    k = None", "    break if x != s", "    k = 1", "n = k"],
    ["k = 0", "for x in xs:", "    k = None", "n = k"],
    ["k = None", "for x in xs:", "    k = x", "s = k if k != None else s"],
    ["for one in ds:", "    break if one == None or n > 9", "    s = one.text", "    n = n + 1"],
]  # fmt: skip
LOOPS = ["for x in xs:", "for i in range(3):", "for t in Topic:", "for i, x in enumerate(xs):"]
CASES = [
    ["case Topic.A:", "case Topic.B | Topic.C:"], ["case Topic.A:", "case _:"],
    ["case Topic.C:", "case Topic.A:", "case Topic.B:"], ["case Topic.A | Topic.B:"],
]  # fmt: skip


@st.composite
def flows(draw: st.DrawFn) -> str:
    """The body of a flow, ending in a `return` that shows every name."""

    def block(indent: str, depth: int, looping: bool = False) -> list[str]:
        lines = []
        for _ in range(draw(st.integers(1, 4))):
            lines += [indent + line for line in statement(depth, looping)]
        return lines

    def statement(depth: int, looping: bool) -> list[str]:
        kind = draw(st.integers(0, 9))
        if looping and kind == 9:
            return [f"break if {draw(st.sampled_from(CONDITIONS))}"]
        if kind == 8:
            return draw(st.sampled_from(SNIPPETS))
        if depth == 0 or kind < 5:
            return [draw(st.sampled_from(EXPRESSIONS + INSIDE * (depth < 2)))]
        if kind == 5:
            cases = draw(st.sampled_from(CASES))
            return ["match t:", *(x for c in cases for x in (f"    {c}", *block(" " * 8, 0)))]
        if kind in (6, 7):
            return [draw(st.sampled_from(LOOPS)), *block("    ", depth - 1, looping=True)]
        lines = [f"if {draw(st.sampled_from(CONDITIONS))}:", *block("    ", depth - 1)]
        if draw(st.booleans()):
            lines += ["else:", *block("    ", depth - 1)]
        return lines

    start = "    d = find(s)\n    m: str? = None\n    ds = [d]\n"
    end = "    return {n: n, s: s, xs: xs, t: t, d: d, m: m}\n"
    return start + "\n".join(block("    ", 2)) + "\n" + end


SIGNATURE = (
    "flow f(n: int, s: str, xs: list[str], t: Topic) -> "
    "(n: float, s: str, xs: list[str], t: Topic, d: Doc?, m: str?):\n"
)


def find(key: str) -> dict[str, str | None] | None:
    return None if len(key) % 3 == 0 else {"text": key, "note": key[:1] if len(key) % 2 else None}


@settings(max_examples=200, deadline=None)
@given(body=flows(), n=st.integers(0, 4), xs=st.lists(st.sampled_from(["", "a", "bc"]), max_size=3))
def test_accepted_flows_run_and_give_their_type(body: str, n: int, xs: list[str]) -> None:
    program, found = check(Source("case.pfn", HEAD + SIGNATURE + body), file_loader())
    wrong = [finding.code for finding in found if finding.level is Level.ERROR]
    event(wrong[0] if wrong else "accepted")
    if wrong:
        return
    module = lower(program)
    verify(module)
    given = {"n": n, "s": "a", "xs": xs, "t": "A"}
    run = evaluate(module, "f", given, target=Target(), natives={"find": find})
    assert run.failure is None, run.failure
    result = run.result
    assert isinstance(result["n"], int | float) and isinstance(result["s"], str)
    assert all(isinstance(x, str) for x in result["xs"]) and result["t"] in ("A", "B", "C")
    assert result["d"] is None or set(result["d"]) == {"text", "note"}
    assert result["m"] is None or isinstance(result["m"], str)

"""Running passes: order, what is told to whom, and what is left when one goes wrong."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from programs import random_module
from templates import FAMILIES, family

from parrotc.ir.ops import Fill, Module, Value
from parrotc.ir.parser import parse_module
from parrotc.ir.printer import print_module
from parrotc.ir.source import Source
from parrotc.ir.types import CONTEXT
from parrotc.ir.verify import InvalidIR
from parrotc.passes.remark import Remarks
from parrotc.passes.table import OFF, ORDER, PASSES, PIPELINES, PassInfo, run, with_pass
from parrotc.passes.target import KEPT, Target

TEXT = """module @m {
  model @m = reference "chatml"

  flow @main(%q: str) -> str {
    %c = context.open @m
    %c1 = context.fill %c, "Text: ", %q
    %c2, %a = context.gen %c1 site "main.0/0" : str
    return %a
  }
}
"""
TARGET = Target({"m": family("chatml")})


def module() -> Module:
    return parse_module(Source("case", TEXT))


def breaks(module: Module, target: Target, remarks: Remarks) -> Module:
    """A pass that leaves a fill of a context nobody made."""
    (flow,) = module.flows
    ghost = Fill(results=(Value("x", CONTEXT),), context=Value("ghost", CONTEXT), parts=())
    body = replace(flow.body, ops=(*flow.body.ops, ghost))
    return replace(module, flows=(replace(flow, body=body),))


def raises(module: Module, target: Target, remarks: Remarks) -> Module:
    raise ZeroDivisionError("as it happens")


def test_every_pass_is_in_the_default_pipeline_and_says_what_it_does() -> None:
    assert set(PIPELINES["O1"]) == set(PASSES) - set(OFF)
    assert set(ORDER) == set(PASSES) > set(OFF)
    assert set(PIPELINES["O0"]) < set(PASSES)
    for name, info in PASSES.items():
        assert info.run.__name__ == name.replace("-", "_")
        assert info.summary.endswith(".") and len(info.summary) < 100


def test_one_pass_is_tried_where_it_stands_in_the_pipeline() -> None:
    assert with_pass("cse") == (
        "effects", "lower-calls", "apply-template", "tokenize", "cse", "lifetimes",
    )  # fmt: skip
    assert with_pass("tokenize") == PIPELINES["O0"]


def test_the_observer_and_the_clock_see_each_pass_in_order() -> None:
    seen: list[str] = []
    times: list[tuple[str, float]] = []
    names = ("tokenize", "dce")
    done = run(module(), TARGET, names, after=lambda name, _: seen.append(name), times=times)
    assert seen == ["tokenize", "dce"] == [name for name, _ in times]
    assert all(seconds >= 0 for _, seconds in times)
    assert "ids[" in print_module(done)


def test_an_unknown_pass_is_told_before_anything_runs() -> None:
    seen: list[str] = []
    with pytest.raises(KeyError, match="fuse"):
        run(module(), TARGET, ("dce", "fuse"), after=lambda name, _: seen.append(name))
    assert not seen


@pytest.mark.parametrize(("bad", "error"), [(breaks, InvalidIR), (raises, ZeroDivisionError)])
def test_a_bad_pass_is_named_and_leaves_what_replays_it(
    bad: object, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PASSES, "bad", PassInfo(bad, "Breaks."))  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        run(module(), TARGET, ("tokenize", "bad"), crash_folder=lambda: tmp_path / "crash")
    notes = "\n".join(caught.value.__notes__)
    assert "in pass `bad` of tokenize, bad" in notes
    (path,) = (tmp_path / "crash").iterdir()
    first, rest = path.read_text("utf-8").split("\n", 1)
    assert first == f"// parrotc opt {path} --pass bad" and first[3:] in notes
    before = run(module(), TARGET, ("tokenize",))
    assert rest == print_module(before)
    assert parse_module(Source(str(path), path.read_text("utf-8"))) == before


def test_a_broken_module_is_let_through_only_when_asked() -> None:
    broken = breaks(module(), TARGET, [])
    with pytest.raises(InvalidIR):
        run(broken, TARGET, ())
    assert run(broken, TARGET, (), verify_each=False) is broken


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_that_runs_again_changes_nothing(name: str) -> None:
    last = len(ORDER) - 1 - ORDER[::-1].index(name)
    for seed in range(25):
        rng = Random(seed)
        made = random_module(rng)
        models = {m.name: family(rng.choice(FAMILIES)) for m in made.models}
        room = rng.choice((10, 30, KEPT))
        target = Target({name: replace(model, kept=room) for name, model in models.items()})
        once = run(made, target, ORDER[: last + 1], verify_each=False)
        again = run(once, target, (name,))
        assert print_module(again) == print_module(once), f"seed {seed}"


def test_passes_do_not_touch_what_they_are_given() -> None:
    for seed in range(10):
        made = random_module(Random(seed))
        target = Target({m.name: family("chatml") for m in made.models})
        before = print_module(made)
        first, second = (run(made, target, PIPELINES["O1"]) for _ in range(2))
        assert first == second and print_module(made) == before

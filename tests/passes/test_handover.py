"""What cannot be handed over as tokens, and how it is said."""

import pytest

from parrotc.driver import compile_source, findings
from parrotc.ir.diagnostic import CompileError
from parrotc.ir.source import Source
from parrotc.targets import ModelOverrides

WRITE = """
pfunc write(topic: str) -> str:
    user "Write about {{topic}}."

pfunc refine(draft: str, tone: str) -> str:
    user "Make this {{tone}}: {{draft}}"
"""


def message(text: str, engine: str | None = "reference") -> str:
    """The first line of what is wrong with a program; empty if nothing is."""
    try:
        compile_source(Source("case.pfn", WRITE + text), models=ModelOverrides(engine=engine))
    except CompileError as error:
        (found,) = error.diagnostics
        assert found.code == "E0411" and found.span is not None and found.help
        return found.message.removeprefix("tokens cannot be handed over: ")
    return ""


def flow(call: str) -> str:
    return f"\nflow main(q: str, qs: list[str]) -> str:\n    return {call} with (handover=tokens)\n"


@pytest.mark.parametrize(
    "call",
    [
        'refine(write(q), "short")',
        "refine(write(q), q)",
        'refine("{{write(q)}}", write(q))',  # one of them is text, made of another
        'refine(write(q) if q == "" else write("x"), q)',
        "refine([write(x) for x in qs][0], q)",
    ],
)
def test_what_a_call_has_said_is_handed_over(call: str) -> None:
    assert message(flow(call)) == ""


@pytest.mark.parametrize(
    "call", ["refine(q, q)", "refine(write(q).upper(), q)", 'refine("{{write(q)}}", q)']
)
def test_what_no_call_has_said_is_not(call: str) -> None:
    assert message(flow(call)) == "`draft` of `refine` is not just what a call has generated"


def test_only_a_constant_may_take_the_place_of_a_generated_value() -> None:
    loop = """
flow main(q: str, qs: list[str]) -> str:
    draft = FIRST
    for x in qs:
        draft = refine(draft, x) with (handover=tokens)
    return draft
"""
    assert message(loop.replace("FIRST", '"Nothing."')) == ""
    assert message(loop.replace("FIRST", "write(q)")) == ""
    assert "is not just what a call" in message(loop.replace("FIRST", "q"))


@pytest.mark.parametrize(
    ("hole", "wrong"),
    [
        ('user "{{draft}} {{draft}}"', ""),
        ('user "{{draft | trim}}"', "`other` does not show `draft` as it is"),
        ('user "{{draft}} {{draft | upper}}"', "`other` does not show `draft` as it is"),
        (
            'if draft == "":\n        user "a"\n    else:\n        user "{{draft}}"',
            "`other` does not show `draft` as it is",
        ),
        ('user "Go."', "`other` does not show `draft`"),
    ],
)
def test_the_hole_shows_it_as_it_is(hole: str, wrong: str) -> None:
    other = f"\npfunc other(draft: str) -> str:\n    {hole}\n"
    assert message(other + flow("other(write(q))")) == wrong


def test_both_ends_read_tokens_of_one_tokenizer() -> None:
    models = 'model a = MODEL\n\nmodel b = builtin("smollm2-135m-instruct")\n'
    text = """
flow main(q: str) -> str:
    draft = write(q) with (model=b)
    return refine(draft, q) with (model=a, handover=tokens)
"""
    api = models.replace("MODEL", 'openai("gpt-4.1")') + text
    assert message(api, None) == "the model `a` reads text, so no tokens can be handed to it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "parrotc.passes.handover._fingerprint", lambda model, target: f"tokens of {model}"
        )
        other = models.replace("MODEL", 'builtin("smollm2-135m-instruct")') + text
        assert message(other, None) == "`b` and `a` do not have one tokenizer"


def test_check_tells_it_too_where_the_tokenizers_are_at_hand(monkeypatch) -> None:
    """All mistakes at once; and nothing where a model would have to be fetched to know."""

    def fetching(*_args: object, **_options: object) -> None:
        raise AssertionError("a model is looked for")

    monkeypatch.setattr("parrotc.targets.resolve", fetching)
    flows = flow("refine(write(q), q)") + flow('refine(write("x"), q)').replace("main", "more")
    program = (WRITE + flows).replace("pfunc", "@model(m)\npfunc")

    def codes(model: str) -> list[str]:
        return [one.code for one in findings(Source("case.pfn", f"model m = {model}\n{program}"))]

    assert codes('openai("gpt-4.1")') == ["E0411", "E0411"], "it reads text"
    assert codes('builtin("hf:nobody/nothing")') == []

"""The reference meaning, on programs small enough to work out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from fakes import ByteTokens
from templates import family

from parrotc.ir.evaluate import Evaluation, evaluate
from parrotc.ir.hashvalue import value_ids
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.ir.tokenhash import draw_key, extend, start
from parrotc.ir.verify import InvalidIR
from parrotc.passes.target import ModelTarget, Target


class Marked(ByteTokens):
    """Bytes, two special tokens, and a BOS where asked."""

    specials = {"<|im_start|>": 300, "<|im_end|>": 301}  # noqa: RUF012

    def __init__(self, bos: int | None = None) -> None:
        self.bos = bos


def chatml(messages: list[tuple[str, str]], *, prompt: bool) -> str:
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
    return text + ("<|im_start|>assistant\n" if prompt else "")


def trimming(messages: list[tuple[str, str]], *, prompt: bool) -> str:
    return chatml([(role, content.strip()) for role, content in messages], prompt=prompt)


TARGET = Target(
    {
        "m": ModelTarget(Marked(), chatml),
        "b": ModelTarget(Marked(bos=9), trimming),
        "tiny": ModelTarget(Marked(), chatml, context_length=8),
        "bpe": family("chatml"),
    }
)
NATIVES: dict[str, Callable[..., Any]] = {
    "shout": lambda text: text.upper(),
    "fail": lambda text: 1 // 0,
    "wrong": lambda text: 5,
    "log": lambda text: "ok",
}
DECLARED = "".join(f'model @{name} = builtin "x"\n' for name in TARGET.models) + "".join(
    f'native @{name}(%text: str) -> str = "a:b" {"effectful" if name == "log" else "pure"} '
    "timeout 1.0\n"
    for name in NATIVES
)


def run(
    body: str, *, result: str = "str", declared: str = "", seed: int = 0, **args: Any
) -> Evaluation:
    params = ", ".join(
        f"%{name}: {'list<str>' if isinstance(value, list) else 'str'}"
        for name, value in args.items()
    )
    text = f"module @t {{ {DECLARED} {declared} flow @main({params}) -> {result} {{ {body} }} }}"
    module = parse_module(Source("t.pir", text))
    return evaluate(module, "main", args, target=TARGET, natives=NATIVES, seed=seed)


def prompts(outcome: Evaluation) -> dict[tuple[str, tuple[int, ...]], str]:
    """What each generation saw, with special ids as numbers between bars."""
    return {
        key: b"".join(
            bytes((n,)) if n < 256 else f"|{n}|".encode() for n in sequence.prompt
        ).decode()
        for key, sequence in outcome.sequences.items()
    }


# contexts


def test_text_and_values_up_to_a_boundary_are_one_text() -> None:
    outcome = run(
        '%c = context.open @bpe %c1 = context.fill %c, ids[3] "x", "The c" '
        '%c2 = context.fill %c1, %q, " mat" %c3 = context.fill %c2, ids[1] "y", "on" '
        '%c4, %v = context.gen %c3 site "s" (max_tokens = 2) : str return %v',
        q="at sat on the",
    )
    encode = family("chatml").tokenizer.encode  # type: ignore[union-attr]
    seen = outcome.sequences["s", ()].prompt
    assert seen == (3, *encode("The cat sat on the mat"), 1, *encode("on"))
    assert encode("The cat sat on the mat") != encode("The c") + encode("at sat on the mat")
    assert outcome.filled == len(seen)


def test_a_generation_follows_the_hash_of_its_prompt() -> None:
    outcome = run(
        '%c = context.open @m %c1 = context.fill %c, "ab" '
        '%c2, %v = context.gen %c1 site "s" (max_tokens = 9) : str return %v'
    )
    drawn = value_ids(extend(start(0), b"ab"), Marked(), max_tokens=9)
    assert outcome.result == drawn.text
    assert outcome.sequences["s", ()].ids == drawn.ids


def test_after_a_stop_text_the_cut_token_is_read_again() -> None:
    """`kept` ids stay, the rest of the value is text that merges with what follows."""
    seen = False
    for word in ["a", "b", "c", "d", "e", "f", "g", "h"]:
        outcome = run(
            '%c = context.open @bpe %c1 = context.fill %c, %q %c2, %v = context.gen %c1 site "s" '
            '(max_tokens = 30, stop = ["e", "o"]) : str %c3 = context.fill %c2, "nd" '
            '%c4, %w = context.gen %c3 site "t" : str return %v',
            q=word,
        )
        tokenizer = family("chatml").tokenizer
        assert tokenizer is not None
        state = extend(start(0), tokenizer.encode(word))
        drawn = value_ids(state, tokenizer, max_tokens=30, stop=("e", "o"))
        seen = seen or bool(drawn.rest)
        after = outcome.sequences["t", ()].prompt
        assert "e" not in outcome.result and "o" not in outcome.result
        kept = (*tokenizer.encode(word), *drawn.ids[: drawn.kept])
        assert after == (*kept, *tokenizer.encode(drawn.rest + "nd"))
        assert tokenizer.decode(list(drawn.ids[: drawn.kept])) + drawn.rest == outcome.result
    assert seen, "no stop text cut a token, so this shows nothing"


def test_a_raw_completion_begins_with_bos_exactly_where_the_tokenizer_has_one() -> None:
    """C5."""
    body = '%c1, %v = context.gen %c site "s" : str return %v'
    for model, fill, shown in [
        ("b", '%c0 = context.open @b %c = context.fill %c0, "x"', "\x09x"),
        ("b", "%c = context.open @b", "\x09"),
        ("m", '%c0 = context.open @m %c = context.fill %c0, "x"', "x"),
        ("b", '%c0 = context.open @b %c = context.fill %c0, "x", ids[7] ""', "\x09x\x07"),
        ("b", '%c0 = context.open @b %c = context.fill %c0, ids[7] "", "x"', "\x07x"),
        ("b", '%c0 = context.open @b %c = context.fill %c0, ids[] "", "x"', "x"),
    ]:
        assert prompts(run(f"{fill} {body}")) == {("s", ()): shown}, model


def test_a_context_opens_from_a_prefix_and_those_before_it() -> None:
    declared = 'prefix @p on @m = ids[97] "a" prefix @r on @m after @p = ids[98, 99] "bc"'
    outcome = run(
        '%c = context.open @m prefix @r %c1 = context.fill %c, "d" '
        '%c2, %v = context.gen %c1 site "s" : str return %v',
        declared=declared,
    )
    assert prompts(outcome) == {("s", ()): "abcd"}


def test_a_prefix_is_filled_once_however_often_it_is_opened() -> None:
    gen = "(max_tokens = 1) : str"
    outcome = run(
        f'%c = context.open @m prefix @p %c1, %v = context.gen %c site "s" {gen} '
        f'%d = context.open @m prefix @p %d1, %w = context.gen %d site "t" {gen} return %v',
        declared='prefix @p on @m = ids[97, 98] "ab"',
    )
    assert outcome.filled == 2


def test_filling_is_counted_once_for_each_context_and_only_where_needed() -> None:
    outcome = run(
        '%c = context.open @m %c1 = context.fill %c, ids[1, 2, 3] "" '
        '%unread = context.fill %c1, ids[4, 5] "" '
        '%c2 = context.fill %c1, ids[6] "" %c3 = context.fill %c1, ids[7] "" '
        '%d, %v = context.gen %c2 site "s" (max_tokens = 2) : str '
        '%e, %w = context.gen %c3 site "t" (max_tokens = 2) : str '
        '%f, %x = context.gen %c3 site "u" (max_tokens = 2) : str return %v'
    )
    assert outcome.filled == 3 + 1 + 1


def test_text_that_two_generations_need_is_filled_once() -> None:
    outcome = run(
        '%c = context.open @m %c1 = context.fill %c, "four" '
        '%d, %v = context.gen %c1 site "s" (max_tokens = 2) : str '
        '%e, %w = context.gen %c1 site "t" (max_tokens = 2) : str return %v'
    )
    assert outcome.filled == 4


def test_use_after_free_is_an_error_of_the_module() -> None:
    end = '%k = const "" : str return %k'
    with pytest.raises(InvalidIR, match="`%c` is used after it was freed"):
        run(f'%c = context.open @m context.free %c %d = context.fill %c, "x" {end}')
    with pytest.raises(InvalidIR, match="after it was freed"):
        run(f"%c = context.open @m context.free %c context.free %c {end}")


# messages

CHAT = """
    %c = context.open @{model} %c1 = context.message %c "user" %c2 = context.fill %c1, " Hi ", %q
    %c3 = context.end %c2 %c4 = context.message %c3 "assistant" %c5 = context.fill %c4, " So"
    %c6, %v = context.gen %c5 site "s" (max_tokens = 3) : str %c7 = context.fill %c6, "! "
    %c8 = context.end %c7 %c9 = context.message %c8 "user" %c10 = context.fill %c9, "More"
    %c11 = context.end %c10 %c12 = context.message %c11 "assistant"
    %c13, %w = context.gen %c12 site "t" : str return %v
"""


def test_messages_go_through_the_template() -> None:
    outcome = run(CHAT.format(model="m"), q="<|im_end|>")
    first = "|300|user\n Hi <|im_end|>|301|\n|300|assistant\n So"
    seen = prompts(outcome)
    assert seen["s", ()] == first
    assert seen["t", ()] == (
        f"{first}{outcome.result}! |301|\n|300|user\nMore|301|\n|300|assistant\n"
    )


def test_a_trimming_template_trims_texts_and_values_but_no_generation() -> None:
    outcome = run(CHAT.format(model="b"), q="\n x\n ")
    seen = prompts(outcome)
    assert seen["s", ()] == "|300|user\nHi \n x|301|\n|300|assistant\n So"
    assert f"|300|assistant\nSo{outcome.result}!|301|" in seen["t", ()]


def test_generated_ids_stay_what_they_are_in_later_turns() -> None:
    outcome = run(CHAT.format(model="bpe"), q="x")
    first, second = outcome.sequences["s", ()], outcome.sequences["t", ()]
    assert second.prompt[: len(first.prompt)] == first.prompt
    assert second.prompt[len(first.prompt) :][: len(first.ids)] == first.ids


def test_a_template_that_refuses_is_a_value_error() -> None:
    def refuse(messages: list[tuple[str, str]], *, prompt: bool) -> str:
        raise ValueError("no")

    text = f"module @t {{ {DECLARED} flow @main(%q: str) -> str {{ {CHAT.format(model='m')} }} }}"
    target = Target({"m": ModelTarget(Marked(), refuse)})
    with pytest.raises(ValueError, match="no"):
        evaluate(parse_module(Source("t", text)), "main", {"q": ""}, target=target, natives={})


# calls and draws

FUNCTION = """
  function @f(%c: context, %q: str) -> (one, two) {{
    %c1 = context.fill %c, %q
    %c2, %x = context.gen %c1 site "0" (max_tokens = 3) : str
    %c3, %y = context.gen %c2 site "1" (max_tokens = 3{}) : str
    yield %x, %y
  }}
"""
CALL = (
    "%n = const 3 : int %r = call @f(%q) on @m site 'main.0' count %n : list<{one: str, two: str}> "
    "return %r"
).replace("'", '"')
MANY = "list<{one: str, two: str}>"


def test_draws_share_what_comes_before_the_first_sampled_generation() -> None:
    declared = FUNCTION.format(", temperature = 0.5")
    outcome = run(CALL, declared=declared, result=MANY, q="x", seed=4)
    assert set(outcome.sequences) == {("main.0/0", ())} | {("main.0/1", (n,)) for n in range(3)}
    ids = outcome.sequences["main.0/1", (1,)].prompt
    drawn = value_ids(extend(start(draw_key(4, "main.0/1", (1,))), ids), Marked(), max_tokens=3)
    assert outcome.result[1]["two"] == drawn.text
    assert len({row["one"] for row in outcome.result}) == 1


def test_where_nothing_is_sampled_one_run_serves_all() -> None:
    outcome = run(CALL, declared=FUNCTION.format(""), result=MANY, q="x")
    assert set(outcome.sequences) == {("main.0/0", ()), ("main.0/1", ())}
    assert len(outcome.result) == 3 and outcome.result[0] == outcome.result[2]


def test_a_seed_replaces_the_run_seed_and_the_site() -> None:
    body = (
        '%c = context.open @m %a, %v = context.gen %c site "s" (temperature = 1.0, seed = 5) : str '
        '%b, %w = context.gen %c site "t" (temperature = 1.0, seed = 5) : str '
        "%r = apply list(%v, %w) : list<str> return %r"
    )
    first = run(body, result="list<str>", seed=1)
    assert first.result[0] == first.result[1]
    assert run(body, result="list<str>", seed=2) == first


# loops, branches, failures


def test_paths_are_iterations_and_attempts() -> None:
    outcome = run(
        "%r = map (%w: str, %i: int) in %ws : list<str> {"
        "  %a = attempt retries 1 : str {"
        "    %s = fold (%u: str, %j: int, %acc: str) in %ws from %w : str {"
        '      %c = context.open @m %c1, %v = context.gen %c site "s" (max_tokens = 1) : str'
        "      yield %v"
        "    } yield %s"
        "  } yield %a"
        '} %k = const "" : str return %k',
        ws=["a", "b"],
    )
    assert set(outcome.sequences) == {("s", (i, 0, j)) for i in range(2) for j in range(2)}


def test_a_fold_ends_early() -> None:
    outcome = run(
        "%s = fold (%w: str, %i: int, %acc: str) in %ws from %q early : str {"
        '  %next = apply add(%acc, %w) : str %stop = const "x" : str'
        "  %go = apply ne(%w, %stop) : bool yield %go, %next"
        "} return %s",
        ws=["a", "x", "b"],
        q="-",
    )
    assert outcome.result == "-ax"


def test_failures_go_along_edges_and_only_there() -> None:
    outcome = run(
        "%f = native @fail(%q) pure : str %g = apply upper(%f) : str "
        "%ok = native @shout(%q) pure : str return %ok",
        q="x",
    )
    assert outcome.result == "X"
    outcome = run(
        "%f = native @fail(%q) pure : str %g = apply upper(%f) : str "
        "%l = native @log(%g) effectful : str return %l",
        q="x",
    )
    assert outcome.failure is not None and outcome.failure.code == "E0601"
    assert outcome.failure.span is not None and "@fail" in outcome.failure.span.text()
    assert outcome.effects == []


LARGE = "int(ge=100, le=101)"
GEN = f'%c1, %v = context.gen %c site "s" (max_tokens = 1) : {LARGE} return %v'
INDEX = "%z = const 0 : int %i = apply index(%l, %z) : str return %i"


@pytest.mark.parametrize(
    ("body", "result", "code"),
    [
        ("%f = native @wrong(%q) pure : str return %f", "str", "E0603"),
        (f"%l = const [] : list<str> {INDEX}", "str", "E0606"),
        (f"%c = context.open @m {GEN}", LARGE, "E0605"),
        (f'%c0 = context.open @tiny %c = context.fill %c0, "12345678" {GEN}', LARGE, "E0604"),
    ],
)
def test_the_codes_of_failures(body: str, result: str, code: str) -> None:
    failure = run(body, result=result, q="x").failure
    assert failure is not None and failure.code == code


def test_attempts_catch() -> None:
    fail = "{ %f = native @fail(%q) pure : str yield %f } return %a"
    tolerated = run(f"%a = attempt retries 1 tolerant : str? {fail}", result="str?", q="x")
    assert (tolerated.result, tolerated.failure) == (None, None)
    failed = run(f"%a = attempt retries 1 : str {fail}", q="x").failure
    assert failed is not None and failed.code == "E0601"


def test_only_the_taken_arm_runs() -> None:
    outcome = run(
        "%t = const false : bool %r = if %t : str {"
        "  %l = native @log(%q) effectful : str yield %l } else { yield %q } return %r",
        q="x",
    )
    assert (outcome.result, outcome.effects) == ("x", [])


def test_inputs_are_checked() -> None:
    module = parse_module(
        Source("t", "module @t { flow @main(%q: str, %k: int = 3) -> int { return %k } }")
    )

    def outcome(**args: Any) -> Evaluation:
        return evaluate(module, "main", args, target=TARGET, natives={})

    assert outcome(q="x").result == 3
    for args in ({}, {"q": 1}, {"q": "x", "z": 1}, {"q": "x", "k": True}):
        failure = outcome(**args).failure
        assert failure is not None and failure.code == "E0607"


def test_natives_cannot_change_values() -> None:
    text = (
        'module @t { native @spoil(%l: list<str>) -> int = "a:b" pure timeout 1.0 '
        "flow @main(%l: list<str>) -> list<str> { %n = native @spoil(%l) pure : int return %l } }"
    )
    module = parse_module(Source("t", text))
    spoil = {"spoil": lambda items: items.clear() or 0}
    assert evaluate(module, "main", {"l": ["a"]}, target=TARGET, natives=spoil).result == ["a"]

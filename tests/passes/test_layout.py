"""Where a template's text is put in place, and where it must wait: both mean what messages mean."""

import pytest
from templates import family, tokenizer

from parrotc.ir.evaluate import evaluate
from parrotc.ir.ops import Module, Render, walk
from parrotc.ir.parser import parse_module
from parrotc.ir.source import Source
from parrotc.passes.remark import Remark
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import ModelTarget, Renderer, Target
from parrotc.passes.template import Templates
from parrotc.runtime.template import Template


def template(body: str, prompt: str = "") -> Renderer:
    """A template with `body` for each message `m`; `prompt` opens an answer."""
    every = "{% for m in messages %}" + body + "{% endfor %}"
    return Template(every + "{% if add_generation_prompt %}" + prompt + "{% endif %}").render


PLAIN = template("{{ '<' + m.role + '>' + m.content + ';' }}", "<assistant>")

# --- probing ---


def test_a_plain_template_is_what_stands_between_contents() -> None:
    found = Templates(PLAIN).before_answer(("system", "user"))
    assert found is not None
    assert found.texts == ("<system>", ";<user>", ";<assistant>")
    assert found.trims == ((False, False), (False, False))


@pytest.mark.parametrize(
    ("body", "trims"),
    [
        ("{{ '<' + m.content | trim + '>' }}", (True, True)),
        ("{{ '<' + m.content.lstrip() + '>' }}", (True, False)),
        ("{{ '<' + m.content.rstrip() + '>' }}", (False, True)),
    ],
)
def test_trimming_is_seen_side_by_side(body: str, trims: tuple[bool, bool]) -> None:
    found = Templates(template(body)).before_answer(("user",))
    assert found is not None and found.trims == (trims,)


@pytest.mark.parametrize(
    "body",
    [
        "{% if m.role != 'system' %}{{ m.content }}{% endif %}",  # drops one
        "{{ m.content + m.content }}",  # says it twice
        "{{ messages[messages | length - loop.index].content }}",  # turns the order round
        "{{ m.content | upper }}",  # rewrites it
        "{% if m.content[0] == ' ' %}x{% endif %}{{ m.content }}",  # looks at it
    ],
)
def test_a_template_that_is_not_verbatim_is_seen(body: str) -> None:
    assert Templates(template(body)).before_answer(("system", "user")) is None


def test_a_refusal_is_told_each_time() -> None:
    templates = Templates(family("mistral").render)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ValueError, match="alternate"):
            templates.before_answer(("assistant",))


# --- whole chains ---

ANSWER = """
    {at}a = context.message {of} "assistant"
    {at}b = context.fill {at}a, {before}
    {at}c, %answer{n} = context.gen {at}b site "main.{n}/0" (max_tokens = 4) : str
    {at}d = context.fill {at}c, {after}
    {at}e = context.end {at}d
"""


def answer(n: int, of: str, before: str = '""', after: str = '""') -> str:
    return ANSWER.format(n=n, at=f"%c{n}", of=of, before=before, after=after)


def user(name: str, of: str, *fills: str) -> str:
    """A message of the user, in any number of fills."""
    lines = [f'%{name} = context.message {of} "user"']
    last = f"%{name}"
    for n, parts in enumerate(fills):
        lines.append(f"%{name}.{n} = context.fill {last}, {parts}")
        last = f"%{name}.{n}"
    lines.append(f"%{name}.e = context.end {last}")
    return "\n".join(lines) + "\n"


def program(body: str) -> Module:
    text = f"""module @m {{
      model @m = reference "x"
      flow @main(%q: str, %xs: list<str>, %t: bool) -> list<str> {{
        %o = context.open @m
        {body}
        %r = apply list(%answer0, %answer1) : list<str>
        return %r
      }}
    }}"""
    return parse_module(Source("case", text))


LOOP = """
    %u.l = fold (%x: str, %i: int, %k: context) in %xs from %u : context {
      %k1 = context.fill %k, %x
      yield %k1
    }
"""
MESSAGES_IN_A_LOOP = """
    %l = fold (%x: str, %i: int, %k: context) in %xs from %o : context {
      %k1 = context.message %k "user"
      %k2 = context.fill %k1, " ", %x
      %k3 = context.end %k2
      yield %k3
    }
"""
BODIES = {
    "plain": user("u", "%o", '"Hello."')
    + answer(0, "%u.e")
    + user("w", "%c0e", '" And ", %q')
    + answer(1, "%w.e"),
    "answers begin and end with white space": user("u", "%o", '"a"')
    + answer(0, "%u.e", '"  So: "', '" \\n"')
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e", '" "', '""'),
    "answers begin and end with values": user("u", "%o", '"a"')
    + answer(0, "%u.e", "%q", "%q")
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e"),
    "a loop at the end of a message": '%u = context.message %o "user"\n'
    + LOOP
    + "%u.e = context.end %u.l\n"
    + answer(0, "%u.e")
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e"),
    "a loop between constants": '%u0 = context.message %o "user"\n%u = context.fill %u0, " x"\n'
    + LOOP
    + '%u.f = context.fill %u.l, "y "\n%u.e = context.end %u.f\n'
    + answer(0, "%u.e")
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e"),
    "an arm that may end a message": '%u0 = context.message %o "user"\n'
    "%u = context.fill %u0, %q\n"
    '%u.l = if %t : context {\n %g = context.fill %u, " z "\n yield %g\n} else {\n yield %u\n}\n'
    "%u.e = context.end %u.l\n" + answer(0, "%u.e") + user("w", "%c0e", '"b"') + answer(1, "%w.e"),
    "messages in a loop": MESSAGES_IN_A_LOOP
    + user("u", "%l", '"b"')
    + answer(0, "%u.e")
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e"),
    "only a loop before the answer": '%s = context.message %o "system"\n'
    '%s1 = context.fill %s, "s"\n%s2 = context.end %s1\n'
    + MESSAGES_IN_A_LOOP.replace("from %o", "from %s2")
    + answer(0, "%l")
    + user("w", "%c0e", '"b"')
    + answer(1, "%w.e"),
}
TEMPLATES = {
    "plain": PLAIN,
    "trims": template("{{ '<' + m.role + '>' + m.content | trim + ';' }}", "<assistant>"),
    "numbers": template(
        "{{ loop.index0 ~ m.role + '>' + m.content + ';' }}",
        "{{ messages | length }}assistant>",
    ),
    "joins the user's messages": template(
        "{% if loop.index0 and messages[loop.index0 - 1].role == m.role %}{{ ' & ' + m.content }}"
        "{% else %}{{ '<' + m.role + '>' + m.content }}{% endif %}",
        "<assistant>",
    ),
    "marks the last": template("{{ ('*' if loop.last else '-') + m.content + ';' }}", "-"),
    "every third": template(
        "{{ ('!' if loop.index0 % 3 == 2 else '-') + m.content + ';' }}",
        "{{ '!' if messages | length % 3 == 2 else '-' }}",
    ),
}
ARGS = (
    {"q": " q ", "xs": ["one", " two "], "t": True},
    {"q": "", "xs": [], "t": False},
    {"q": "\n", "xs": ["", " "], "t": True},
    {"q": "q", "xs": ["a", "b", "c", "d"], "t": False},
)


@pytest.mark.parametrize("style", TEMPLATES)
@pytest.mark.parametrize("name", BODIES)
def test_prompts_are_those_of_the_messages(name: str, style: str) -> None:
    module = program(BODIES[name])
    target = Target({"m": ModelTarget(tokenizer("chatml"), TEMPLATES[style], 100_000)})
    done = run(module, target, ("apply-template", "tokenize"))
    for args in ARGS:
        before, after = (
            evaluate(m, "main", args, target=target, natives={}) for m in (module, done)
        )
        assert after.sequences == before.sequences


@pytest.mark.parametrize(
    ("name", "style", "late"),
    [
        ("plain", "plain", False),
        ("plain", "trims", False),
        ("plain", "numbers", False),  # the place of each message is known
        ("plain", "marks the last", True),
        ("messages in a loop", "plain", False),
        ("messages in a loop", "numbers", True),
        ("messages in a loop", "trims", False),
        ("a loop between constants", "trims", False),
        ("a loop at the end of a message", "plain", False),
        ("a loop at the end of a message", "trims", True),
        ("an arm that may end a message", "trims", True),
        ("answers begin and end with white space", "trims", True),
        ("only a loop before the answer", "joins the user's messages", True),
    ],
)
def test_a_template_waits_only_where_it_must(name: str, style: str, late: bool) -> None:
    target = Target({"m": ModelTarget(tokenizer("chatml"), TEMPLATES[style], 100_000)})
    remarks: list[Remark] = []
    done = run(program(BODIES[name]), target, ("apply-template",), remarks=remarks)
    assert any(isinstance(op, Render) for op in walk(done.flows[0].body)) is late
    assert [remark.code for remark in remarks] == ["W0502"] * late


def test_a_template_that_begins_with_a_content_gets_no_bos() -> None:
    """The tokenizer has one; but what comes before messages is for the template to say."""
    bare = template("{{ m.content + ';' }}")
    target = Target({"m": ModelTarget(tokenizer("llama3"), bare, 100_000)})
    module = program(user("u", "%o", "%q") + answer(0, "%u.e") + answer(1, "%c0e"))
    done = run(module, target, PIPELINES["O1"])
    before = evaluate(module, "main", ARGS[0], target=target, natives={})
    after = evaluate(done, "main", ARGS[0], target=target, natives={})
    assert after.sequences == before.sequences
    bos = tokenizer("llama3").bos
    assert len(after.sequences) == 2
    assert all(bos not in one.prompt for one in after.sequences.values())

"""Chat templates: what they render, what they refuse, and what they cannot do."""

from datetime import datetime

import pytest

from parrotc.runtime.template import CHATML, Template

MESSAGES = [("system", "Be brief."), ("user", "Hi")]


def test_chatml() -> None:
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert Template(CHATML).render(MESSAGES, prompt=False) == text
    assert Template(CHATML)(MESSAGES, prompt=True) == text + "<|im_start|>assistant\n"


def test_blocks_take_their_lines_away() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}\n    {% if true %}\n"
        "{{ m.content }}\n    {% endif %}\n{% endfor %}\n"
    )
    assert Template(source, bos="<s>").render(MESSAGES, prompt=False) == "<s>Be brief.\nHi\n"


def test_a_template_refuses_in_its_own_words() -> None:
    source = "{{ raise_exception('Only user and assistant roles are supported!') }}"
    with pytest.raises(ValueError, match="Only user and assistant roles"):
        Template(source).render(MESSAGES, prompt=False)


def test_a_template_that_fails_refuses() -> None:
    with pytest.raises(ValueError, match="refuses these messages"):
        Template("{{ messages[9].content.strip() }}").render(MESSAGES, prompt=False)


def test_the_date_is_fixed() -> None:
    template = Template("{{ strftime_now('%d %b %Y') }}", now=datetime(2024, 7, 26))
    assert template.render([], prompt=False) == "26 Jul 2024"


def test_what_templates_of_models_use() -> None:
    source = (
        "{%- for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
        "{% generation %}{{ m | tojson }}{% endgeneration %}{% break %}{% endfor %}"
    )
    rendered = Template(source).render([*MESSAGES, ("user", "é<")], prompt=False)
    assert rendered == '{"role": "user", "content": "Hi"}'


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__ }}{{ raise_exception.__globals__['json'] }}",
    ],
)
def test_templates_are_sandboxed(source: str) -> None:
    with pytest.raises(ValueError, match="refuses"):
        Template(source).render(MESSAGES, prompt=False)


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(ValueError, match="not a chat template"):
        Template("{% for %}")


@pytest.mark.parametrize("prompt", [False, True])
def test_the_same_as_transformers(prompt: bool) -> None:
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    messages = [{"role": role, "content": content} for role, content in MESSAGES]
    rendered, _ = transformers.render_jinja_template(
        [messages], chat_template=CHATML, add_generation_prompt=prompt
    )
    assert Template(CHATML).render(MESSAGES, prompt=prompt) == rendered[0]

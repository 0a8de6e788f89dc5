"""Chat templates: from `(role, content)` messages to the text a model was trained on.

    Template(source).render([("user", "Hi")], prompt=True)

Templates are programs that come with a model, so they run in Jinja's sandbox, with the functions
that Hugging Face gives them and nothing else. The date a template may ask for is fixed when it is
made: compiling twice gives the same prompt.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class Template:
    """A compiled chat template. Raises `ValueError` when the source is not one."""

    def __init__(
        self, source: str, *, bos: str = "", eos: str = "", now: datetime | None = None
    ) -> None:
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        env.filters["tojson"] = _to_json
        env.globals["raise_exception"] = _refuse
        env.globals["strftime_now"] = _clock(now or datetime.now())
        try:
            self._template = env.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"not a chat template: {error}") from None

    def render(self, messages: list[tuple[str, str]], *, prompt: bool) -> str:
        """The text of `messages`; with `prompt`, the opening of an assistant message follows.

        Raises `ValueError`, in the template's own words, for a list that it refuses.
        """
        try:
            return self._template.render(
                messages=[{"role": role, "content": content} for role, content in messages],
                add_generation_prompt=prompt,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError, AttributeError, LookupError) as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from None

    __call__ = render


class _Generation(Extension):
    """`{% generation %}` marks what a model wrote, for training. Here it marks nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own `tojson` escapes for HTML; models read plain JSON."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _clock(now: datetime) -> Callable[[str], str]:
    return now.strftime

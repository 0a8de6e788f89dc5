"""An engine that says what a test tells it to: for Python programs, behind `mock_engine`.

    engine.answer(digest, "a note")                 each call of `digest`
    engine.answer(rate, 3, 9)                       the first call, the second; a third is an error
    engine.answer(classify, {"reason": "unclear", "topic": "OTHER"})           several outputs
    engine.answer_prompt("Rate from 1", 7)          each call whose prompt has the text in it
    engine.calls[0].function, engine.prompts

Values are as the function gives them: texts as they are, members of enums, numbers, dataclasses and
pydantic models. A scored choice is `("OTHER", 0.4)`.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from parrotc.runtime.engines.hashcontexts import Contexts, ids_of
from parrotc.runtime.engines.protocol import (
    Constraint,
    ContextId,
    EngineError,
    EngineInfo,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.native_worker import plain_value
from parrotc.runtime.tokenizer import ByteTokenizer

_SHOWN = 300  # characters of a prompt in an error


@dataclass(frozen=True)
class Call:
    """A generation that was asked for. `output` is its name where a function has several."""

    function: str
    output: str
    prompt: str
    answer: str
    sampling: Sampling


@dataclass
class _Rule:
    """Answers to some calls. With several values, each is given once, in turn."""

    matches: Callable[[str, str], bool]  # of the function and the prompt
    name: str
    values: Sequence[Any]
    drawn: dict[str, int] = field(default_factory=dict)  # by output

    def draw(self, output: str, prompt: str) -> Any:
        """Raises `EngineError` when there is none left."""
        at = self.drawn.get(output, 0)
        self.drawn[output] = at + 1
        if len(self.values) == 1:
            at = 0
        elif at >= len(self.values):
            raise _unanswered(f"this is call {at + 1} of {self.name}, for {at} answers", prompt)
        value = self.values[at]
        return value(prompt) if callable(value) and not isinstance(value, type) else value


class MockEngine:
    """What to answer, and what was asked. Safe from several threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._rules: list[_Rule] = []
        self._lock = Lock()

    @property
    def prompts(self) -> list[str]:
        """Every prompt, in the order in which they were asked."""
        return [call.prompt for call in self.calls]

    def calls_of(self, function: object) -> list[Call]:
        """The calls of one function: a `@pfunc`, or its name."""
        name = _name(function)
        return [call for call in self.calls if _is_called(call.function, name)]

    def answer(self, function: object, *values: Any) -> None:
        """Answer calls of a function, a `@pfunc` or its name: one value for all of them, several
        in turn, or a function of the prompt. A later answer goes before an earlier one."""
        name = _name(function)
        self._add(lambda called, _: _is_called(called, name), f"`{name}`", values)

    def answer_prompt(self, text: str | re.Pattern[str], *values: Any) -> None:
        """Answer calls whose prompt has `text` in it, or matches it anywhere."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        name = f"what matches {pattern.pattern!r}"
        self._add(lambda _, prompt: pattern.search(prompt) is not None, name, values)

    def reset(self) -> None:
        """Forget all answers and calls."""
        with self._lock:
            self.calls, self._rules = [], []

    def _add(self, matches: Callable[[str, str], bool], name: str, values: Sequence[Any]) -> None:
        if not values:
            raise TypeError("give at least one value to answer with")
        with self._lock:
            self._rules.insert(0, _Rule(matches, name, values))

    def said(self, prompt: str, request: GenerateRequest) -> Finished:
        """What to say to a prompt. Raises `EngineError` where nothing answers it."""
        with self._lock:
            function, output, rule = self._rule(prompt, request.title)
            value = rule.draw(output, prompt)
            if isinstance(value, dict) and output:
                value = _output(value, output, rule.name)
            text, scores = _said(value, request.constraint)
            self.calls.append(Call(function, output, prompt, text, request.sampling))
        ids = tuple(text.encode())
        reason = "stop" if request.constraint is None else "constraint"
        return Finished(reason, text, ids, len(ids), scores=scores)

    def _rule(self, prompt: str, title: str) -> tuple[str, str, _Rule]:
        """Who asks: the function and the output; and what answers it."""
        function, _, output = title.rpartition(".")
        for asker, which in ((title, ""), (function, output)):
            for rule in self._rules:
                if asker and rule.matches(asker, prompt):
                    return asker, which, rule
        raise _unanswered(f"nothing answers `{title}`", prompt)


class MockedEngine:
    """Implements `Engine`, with tokens that are bytes: a program's end of a `MockEngine`."""

    def __init__(self, mock: MockEngine) -> None:
        self.tokenizer = ByteTokenizer()
        self._mock = mock
        self._contexts = Contexts(self.tokenizer.context_length)

    async def fill(self, requests: Sequence[FillRequest]) -> None:
        self._contexts.fill(requests)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        with self._contexts.held(request.parent) as parent:
            finished = self._mock.said(self.tokenizer.decode(ids_of(parent)), request)
            yield Piece(finished.text, finished.ids)
            self._contexts.go_on(request, parent, finished)
        yield finished

    async def free(self, contexts: Sequence[ContextId], dead: bool = False) -> None:
        self._contexts.free(contexts)

    async def ping(self) -> EngineInfo:
        return EngineInfo(
            engine="mock",
            model="mock",
            fingerprint=self.tokenizer.fingerprint,
            context_length=self.tokenizer.context_length,
            contexts=len(self._contexts.named),
            cached_tokens=self._contexts.tokens,
        )

    async def close(self) -> None:
        self._contexts.clear()


def _unanswered(why: str, prompt: str) -> EngineError:
    shown = prompt if len(prompt) <= _SHOWN else f"…{prompt[-_SHOWN:]}"
    error = EngineError("unanswered", why)
    error.add_note(f"its prompt is {shown!r}")
    return error


def _name(function: object) -> str:
    name = function if isinstance(function, str) else getattr(function, "__name__", None)
    if not name:
        raise TypeError(f"{function!r} is neither a @pfunc nor the name of one")
    return str(name)


def _is_called(function: str, name: str) -> bool:
    """One of another file is called by its module too: `app.digest`."""
    return function == name or function.endswith(f".{name}")


def _output(values: dict[str, Any], output: str, name: str) -> Any:
    if output not in values:
        raise EngineError("unanswered", f"the answer for {name} leaves out `{output}`")
    return values[output]


def _said(value: Any, constraint: Constraint | None) -> tuple[str, tuple[tuple[str, float], ...]]:
    """A value as a model would write it, and the probabilities of the options of a choice."""
    wanted = constraint or Constraint()
    p = 1.0
    if wanted.scored and isinstance(value, tuple):
        value, p = value
    text = _text(value)
    if wanted.choices is None:
        return text, ()
    if text not in wanted.choices:
        raise EngineError("unanswered", f"`{text}` is none of {', '.join(wanted.choices)}")
    others = [option for option in wanted.choices if option != text]
    return text, ((text, p), *((option, (1 - p) / len(others)) for option in others))


def _text(value: Any) -> str:
    data = plain_value(value)
    return data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)

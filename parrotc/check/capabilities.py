"""What a call asks of a model that its endpoint cannot do (E04).

    model m = azure("gpt", …)
    pfunc f(q: str) -> str(regex="[0-9]+"): …        E0404 where a call of `f` runs on `m`

Looks at the flow-level module, not at the program: models may be replaced when a program is
compiled, and what counts is the one that a call will run on, or fall back on.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum

from parrotc.check.profiles import profile
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.ops import (
    Block,
    Call,
    End,
    Fill,
    Fold,
    Function,
    Generate,
    Message,
    Model,
    Module,
    Op,
    Text,
    Value,
    blocks,
    walk,
)
from parrotc.ir.schema import options_of
from parrotc.ir.source import Span
from parrotc.ir.types import Optional, Scored, Str
from parrotc.runtime.engines.openai.profiles import OPTIONS, Profile


class _At(IntEnum):
    """Where in a prompt a context stands. Where paths meet the later one counts."""

    BETWEEN = 0  # messages
    START = 1  # of a message
    INSIDE = 2  # a message that has a text, or a generation
    RAW = 3  # in a text without messages


def capabilities(module: Module) -> tuple[Diagnostic, ...]:
    """Every generation that the model of some call cannot do, each told once."""
    models = {model.name: model for model in module.models}
    functions = {function.name: function for function in module.functions}
    asked: dict[tuple[str, str], None] = {}
    for flow in module.flows:
        for op in walk(flow.body):
            if isinstance(op, Call):
                asked |= {(op.function, name): None for name in _reached(op.model, models)}
    return _lacking((functions[name], models[model]) for name, model in asked)


def capabilities_of(function: Function, model: Model) -> tuple[Diagnostic, ...]:
    """The same of one function, where a model is to run it that no flow says."""
    return _lacking([(function, model)])


def _lacking(pairs: Iterable[tuple[Function, Model]]) -> tuple[Diagnostic, ...]:
    found: dict[tuple[str, Span | None, str], Diagnostic] = {}
    for function, model in pairs:
        for one in _function(function, model):
            found.setdefault((one.code, one.span, one.label), one)  # whatever models lack it
    return tuple(sorted(found.values(), key=lambda one: one.span.start if one.span else -1))


def _reached(name: str, models: dict[str, Model]) -> list[str]:
    """A model and those it falls back on."""
    reached = [name]
    for one in reached:  # grows while it is walked
        fallback = dict(models[one].options).get("fallback")
        reached += [other for other in fallback or () if other not in reached]  # type: ignore[union-attr]
    return reached


def _function(function: Function, model: Model) -> Iterator[Diagnostic]:
    known = profile(model)
    places = _Places(function)
    for op in walk(function.body):
        if isinstance(op, Generate):
            yield from _place(op, places.at[op.context], model, known)
            yield from _constraint(op, model, known)
            yield from _sampling(op, model, known)


def _place(op: Generate, at: _At, model: Model, known: Profile) -> Iterator[Diagnostic]:
    if at is _At.INSIDE and not known.prefill:
        message = f"`{model.name}` cannot go on with a message that the program has begun"
        note = f"{known.endpoint} writes the assistant's messages from their start"
        help_ = "generate in a message of its own, and say in the `user` message how it begins"
        yield Diagnostic("E0402", message, op.span, notes=(note,), help=help_)
    if at is _At.RAW and not known.raw:
        message = f"`{model.name}` answers messages, and this prompt has none"
        note = f"{known.endpoint} has no raw completion"
        help_ = 'put the text into `user "…"`'
        yield Diagnostic("E0403", message, op.span, notes=(note,), help=help_)


def _constraint(op: Generate, model: Model, known: Profile) -> Iterator[Diagnostic]:
    type_ = op.results[1].type
    inner = type_.item if isinstance(type_, Optional) else type_
    if isinstance(inner, Str) and inner.regex is not None and not known.regex:
        message = f"`{model.name}` cannot keep to a regular expression"
        note = f"{known.endpoint} knows choices and JSON Schema"
        help_ = "generate a choice or a class, or run this call on another model"
        yield Diagnostic("E0404", message, op.span, notes=(note,), help=help_)
    elif options_of(inner) and not known.choices:
        message = f"`{model.name}` cannot keep to choices"
        note = f"{known.endpoint} takes no schema of any kind"
        help_ = "generate a text and look at it, or run this call on another model"
        yield Diagnostic("E0407", message, op.span, notes=(note,), help=help_)
    if isinstance(inner, Scored) and not known.is_scored:
        message = f"`{model.name}` does not tell how probable its choices are"
        note = f"{known.endpoint} tells it of single tokens, and not of all of them"
        help_ = "leave `scored` out, or run this call on another model"
        yield Diagnostic("E0405", message, op.span, notes=(note,), help=help_)


def _sampling(op: Generate, model: Model, known: Profile) -> Iterator[Diagnostic]:
    lacking = sorted(name for name in OPTIONS - known.options if getattr(op, name))
    if lacking:
        message = f"`{model.name}` has no {' and no '.join(f'`{name}`' for name in lacking)}"
        note = f"{known.endpoint} knows `temperature` and `top_p`"
        yield Diagnostic("E0406", message, op.span, notes=(note,), help="leave it out")
    if len(op.stop) > known.stops:
        message = f"`{model.name}` takes {known.stops} stop texts at most"
        yield Diagnostic("E0406", message, op.span, label=f"has {len(op.stop)}")


class _Places:
    """Where each context of a semantic function stands: `at`."""

    def __init__(self, function: Function) -> None:
        start = function.body.params[0]
        self.at: dict[Value, _At] = {start: _At.RAW}
        if any(isinstance(op, Message) for op in walk(function.body)):
            self.at[start] = _At.BETWEEN
        self._block(function.body)

    def _block(self, block: Block) -> None:
        for op in block.ops:
            self._op(op)

    def _op(self, op: Op) -> None:
        match op:
            case Message():
                self.at[op.result] = _At.START
            case End():
                self.at[op.result] = _At.BETWEEN
            case Fill():
                is_empty = all(isinstance(part, Text) and not part.text for part in op.parts)
                self.at[op.result] = self.at[op.context] if is_empty else self._read(op.context)
            case Generate():
                self.at[op.results[0]] = self._read(op.context)
            case Fold():
                self._fold(op)
            case _:
                for block in blocks(op):
                    self._block(block)
                    self._join(op.results, block.yields)

    def _read(self, context: Value) -> _At:
        """Where a context stands after it has read something more."""
        return max(self.at[context], _At.INSIDE)

    def _fold(self, op: Fold) -> None:
        """A later round starts where the one before ended: two rounds see every place."""
        carried, yields = op.body.params[2:], op.body.yields[1 if op.early else 0 :]
        self._join(carried, op.inits)
        for _ in range(2):
            self._block(op.body)
            self._join(carried, yields)
        self._join(op.results, carried)

    def _join(self, values: tuple[Value, ...], others: tuple[Value, ...]) -> None:
        for value, other in zip(values, others, strict=True):
            if other in self.at:
                self.at[value] = max(self.at.get(value, _At.BETWEEN), self.at[other])

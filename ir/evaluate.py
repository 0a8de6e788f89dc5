"""What a flow means: a plain interpreter of modules at any level, and the oracle of every pass.

Runs op after op, without engines, schedules or sharing. A generation's next token is a hash of the
exact ids before it (`ir/hashvalue.py`), so a pass that mixes up contexts, or loses or doubles a
token, changes the outcome. `sequences` says what each generation saw and gave, `filled` how many
ids had to be filled with each context filled once, when a generation first needs it.

Failures are values: an op with a failed operand fails with the same cause, a region whose input
failed does not run, and only `Attempt` catches. A result that failed is `Evaluation.failure`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

from parrotc.ir.declarations import InvalidIR
from parrotc.ir.hashvalue import Drawn, value_ids
from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    End,
    Fill,
    Flow,
    Fold,
    Free,
    Function,
    Generate,
    Ids,
    If,
    Map,
    Message,
    Module,
    Native,
    Op,
    Open,
    Part,
    Render,
    Text,
    Value,
    blocks,
    operands,
)
from parrotc.ir.outcome import Evaluation, Failure, Path, Seen
from parrotc.ir.prompt import Kept, Language, Prompt
from parrotc.ir.scalar import ScalarError, Spoken, apply
from parrotc.ir.schema import Constraint, constraint_of, problem, read, scored, with_defaults
from parrotc.ir.source import Span
from parrotc.ir.tokenhash import draw_key, extend, start
from parrotc.ir.types import Json, Scored

__all__ = ["Evaluation", "Failure", "Seen", "evaluate"]

Fail = Callable[[Sequence[int]], bool]  # whether the generation after these ids fails


class Target(Protocol):
    """The part of `passes.target.Target` that gives a program its meaning."""

    @property
    def models(self) -> Mapping[str, Language]: ...


def evaluate(
    module: Module,
    flow: str,
    args: Mapping[str, Json],
    *,
    target: Target,
    natives: Mapping[str, Callable[..., Json]],
    seed: int = 0,
    fail: Fail | None = None,
) -> Evaluation:
    """Run a flow on the reference model.

    `natives` are called with JSON values, by the names of their declarations. `fail` picks
    generations that fail, by their prompts, as an engine may. Raises `InvalidIR` for what only a
    wrong module does, such as using a context after it was freed, and `KeyError` for an unknown
    flow.
    """
    found = {one.name: one for one in module.flows}[flow]
    run = _Run(module, target, natives, seed, fail)
    given = _arguments(found, args)
    if isinstance(given, Failure):
        run.evaluation.failure = given
        return run.evaluation
    (result,) = run.block(found.body, given, _Frame(), ())
    if isinstance(result, Failure):
        run.evaluation.failure = result
    else:
        run.evaluation.result = result
    return run.evaluation


def _arguments(flow: Flow, args: Mapping[str, Json]) -> list[Json] | Failure:
    """The flow's arguments in order, with defaults."""
    for name in args:
        if name not in [param.value.name for param in flow.params]:
            return Failure("E0607", f"`{flow.name}` has no input `{name}`")
    given = []
    for param in flow.params:
        name = param.value.name
        if name not in args and not param.has_default:
            return Failure("E0607", f"`{flow.name}` needs its input `{name}`")
        value = with_defaults(param.value.type, args.get(name, param.default))
        wrong = problem(param.value.type, value)
        if wrong:
            return Failure("E0607", f"the input `{name}` of `{flow.name}`: {wrong}")
        given.append(value)
    return given


class _Freed:
    """What a name stands for after `context.free`."""


@dataclass(slots=True)
class _Frame:
    """The values of one flow or of one call. Names are unique, so iterations just overwrite."""

    values: dict[str, Any] = field(default_factory=dict)
    site: str = ""  # what the sites of generations begin with
    model: str = ""  # the model of the call

    def get(self, value: Value) -> Any:
        held = self.values[value.name]
        if held is _Freed:
            raise InvalidIR(f"`%{value.name}` is used after it was freed")
        return held


class _Run:
    def __init__(
        self,
        module: Module,
        target: Target,
        natives: Mapping[str, Callable[..., Json]],
        seed: int,
        fail: Fail | None,
    ) -> None:
        self.target = target
        self.natives = natives
        self.seed = seed
        self.fail = fail
        self.evaluation = Evaluation()
        self._functions = {function.name: function for function in module.functions}
        self._declared = {native.name: native for native in module.natives}
        self._prefixes = {prefix.name: prefix for prefix in module.prefixes}
        self._opened: dict[str, Prompt] = {}
        self._tokenizers = {
            name: language.tokenizer
            for name, language in target.models.items()
            if language.tokenizer is not None
        }

    # --- regions ---

    def block(self, block: Block, args: Sequence[Any], frame: _Frame, path: Path) -> list[Any]:
        """What the block yields when its parameters are `args`."""
        for param, arg in zip(block.params, args, strict=True):
            frame.values[param.name] = arg
        self.ops(block.ops, frame, path)
        return [frame.get(value) for value in block.yields]

    def ops(self, ops: Sequence[Op], frame: _Frame, path: Path) -> None:
        for op in ops:
            results = self.op(op, frame, path)
            for value, result in zip(op.results, results, strict=True):
                frame.values[value.name] = result

    def op(self, op: Op, frame: _Frame, path: Path) -> Sequence[Any]:
        """The values of the op's results."""
        if isinstance(op, Free):
            frame.get(op.context)
            frame.values[op.context.name] = _Freed
            return ()
        read = [frame.get(value) for value in operands(op)]
        failed = next((value for value in read if isinstance(value, Failure)), None)
        if isinstance(op, Fold):  # a carried value may fail and be replaced
            failed = read[0] if isinstance(read[0], Failure) else None
        if isinstance(op, Call):  # its body runs as far as it does not read what failed
            return [self.call(op, read, path)]
        if failed is not None:
            return [failed] * len(op.results)
        match op:
            case Map():
                return self.map(op, read[0], frame, path)
            case Fold():
                return self.fold(op, read[0], read[1:], frame, path)
            case If():
                return self.block(op.then if read[0] else op.orelse, (), frame, path)
            case Attempt():
                return self.attempt(op, frame, path)
            case Generate():
                return self.generate(op, read[0], frame, path)
            case Const():
                return [json.loads(op.json)]
            case Apply():
                return [self.apply(op, read, frame)]
            case Native():
                return [self.native(op, read)]
        return [self.context(op, read, frame)]

    def map(self, op: Map, items: list[Json], frame: _Frame, path: Path) -> list[Any]:
        rows = [
            self.block(op.body, (item, index), frame, (*path, index))
            for index, item in enumerate(items)
        ]
        return [_whole([row[n] for row in rows]) for n in range(len(op.results))]

    def fold(
        self, op: Fold, items: list[Json], carried: list[Any], frame: _Frame, path: Path
    ) -> list[Any]:
        for index, item in enumerate(items):
            carried = self.block(op.body, (item, index, *carried), frame, (*path, index))
            if op.early:
                goes_on, *carried = carried
                if isinstance(goes_on, Failure):
                    return [goes_on] * len(carried)
                if not goes_on:
                    break
        return carried

    def attempt(self, op: Attempt, frame: _Frame, path: Path) -> list[Any]:
        failed: Failure | None = None
        for number in range(op.retries + 1):
            yields = self.block(op.body, (), frame, (*path, number))
            failed = next((value for value in yields if isinstance(value, Failure)), None)
            if failed is None:
                return yields
        return [None if op.tolerant else failed] * len(op.results)

    # --- data ---

    def apply(self, op: Apply, args: list[Json], frame: _Frame) -> Json | Failure:
        attrs = dict(op.attrs)
        if attrs.get("model") == "":  # in a function: that of the call
            attrs["model"] = frame.model
        return self.scalar(op.function, args, attrs, op.span)

    def scalar(
        self, function: str, args: list[Any], attrs: dict[str, Json], span: Span | None
    ) -> Any:
        failed = next((value for value in args if isinstance(value, Failure)), None)
        if failed is not None:
            return failed
        try:
            return apply(function, args, attrs, self._tokenizers)
        except ScalarError as error:
            return Failure("E0606", str(error), span)

    def native(self, op: Native, args: list[Json]) -> Json | Failure:
        declared = self._declared[op.native]
        if op.has_effect():
            self.evaluation.effects.append((op.native, tuple(args)))
        try:
            result = self.natives[op.native](*deepcopy(args))
        except Exception as error:
            return Failure("E0601", f"`{op.native}` raised {error!r}", op.span)
        wrong = problem(declared.result, result)
        if wrong:
            return Failure("E0603", f"`{op.native}` gave another type: {wrong}", op.span)
        return result

    # --- calls ---

    def call(self, op: Call, read: list[Any], path: Path) -> Json | Failure:
        """As `lower-calls` would have it: the body in a context of its own."""
        function = self._functions[op.function]
        body = function.body
        frame = _Frame({}, f"{op.site}/", op.model)
        args = [self.open(op.model), *read[: len(op.args)]]
        for number in op.handed:
            args[1 + number] = self.scalar("ids", [args[1 + number]], {"model": op.model}, op.span)
        frame.values |= {p.name: arg for p, arg in zip(body.params, args, strict=True)}
        if op.count is None:
            self.ops(body.ops, frame, path)
            return _outputs(function, frame)
        first = next((n for n, one in enumerate(body.ops) if _samples(one)), len(body.ops))
        self.ops(body.ops[:first], frame, path)
        return self.draws(op, function, first, read[-1], frame, path)

    def draws(
        self, op: Call, function: Function, first: int, count: Any, frame: _Frame, path: Path
    ) -> list[Json] | Failure:
        """The rest of the body `count` times from its first sampled op, or one value for all."""
        rest = function.body.ops[first:]
        if not rest:
            value = _outputs(function, frame)
            repeated: list[Json] | Failure = self.scalar("repeat", [value, count], {}, op.span)
            return repeated
        values = []
        draws = self.scalar("range", [count], {}, op.span)
        if isinstance(draws, Failure):
            return draws
        for draw in draws:
            self.ops(rest, frame, (*path, draw))
            values.append(_outputs(function, frame))
        return _whole(values)

    # --- contexts ---

    def open(self, model: str, prefix: str | None = None) -> Prompt:
        """A context that has read nothing; or that of a prefix, the same one every time."""
        if prefix is not None:
            if prefix not in self._opened:
                found = self._prefixes[prefix]
                before = self.open(model, found.parent)
                self._opened[prefix] = before.read([Ids(found.ids, found.text)])
            return self._opened[prefix]
        language = self.target.models[model]
        if language.tokenizer is None:
            raise InvalidIR(f"the model `{model}` has no tokenizer, so its prompts have no ids")
        return Prompt(model, language.tokenizer, language.render)

    def context(self, op: Op, read: list[Any], frame: _Frame) -> Prompt:
        if isinstance(op, Open):
            return self.open(op.model, op.prefix)
        prompt: Prompt = read[0]
        match op:
            case Message():
                return prompt.start_message(op.role)
            case End():
                return prompt.end_message()
            case Fill():
                return prompt.read(_said(part, frame) for part in op.parts)
            case Render():  # a list of messages is rendered whenever a generation reads it
                return prompt
        raise InvalidIR(f"not an op: {op!r}")

    def generate(self, op: Generate, prompt: Prompt, frame: _Frame, path: Path) -> list[Any]:
        """The context after it and the value, or two failures."""
        flushed = prompt.flushed()
        ids = flushed.ids()
        if len(ids) + 1 > self.target.models[prompt.model].context_length:
            return [Failure("E0604", f"a prompt of {len(ids):,} tokens is too long", op.span)] * 2
        if self.fail is not None and self.fail(ids):
            return [Failure("E0608", "the engine failed", op.span)] * 2
        site = frame.site + op.site
        if (site, path) in self.evaluation.sequences:
            raise InvalidIR(f"two generations of one run are both {site!r} at {path}")
        drawn = _drawn(op, extend(start(self._key(op, site, path)), ids), prompt)
        self.evaluation.filled += flushed.count_filled()
        self.evaluation.sequences[site, path] = Seen(ids, drawn.ids)
        try:
            value = _read(op, drawn)
        except ValueError as error:
            return [Failure("E0605", str(error), op.span)] * 2
        kept = drawn.ids[: drawn.kept]
        if value == drawn.text:  # `rest`, whose token was cut, is tokenised anew
            value = Spoken.of(value, (*kept, *prompt.tokenizer.encode(drawn.rest)))
        return [prompt.generated(kept, drawn.rest), value]

    def _key(self, op: Generate, site: str, path: Path) -> int:
        if op.temperature == 0.0:
            return 0
        return draw_key(self.seed, site, path) if op.seed is None else draw_key(op.seed, "", path)


def _said(part: Part, frame: _Frame) -> str | Ids | Kept:
    if isinstance(part, Ids):
        return part
    said: str | list[int] = part.text if isinstance(part, Text) else frame.get(part)
    return Kept(tuple(said), "") if isinstance(said, list) else said


def _drawn(op: Generate, state: int, prompt: Prompt) -> Drawn:
    wanted = constraint_of(op.results[1].type)
    return value_ids(
        state,
        prompt.tokenizer,
        max_tokens=op.max_tokens,
        stop=op.stop,
        choices=wanted.choices,
        regex=wanted.regex,
        json_schema=wanted.json_schema,
        scored=wanted.scored,
    )


def _read(op: Generate, drawn: Drawn) -> Json:
    """The value of what was generated. Raises `ValueError` if it is none of its type."""
    type_ = op.results[1].type
    if drawn.reason == "length" and constraint_of(type_) != Constraint():
        raise ValueError(f"the output was cut by its limit of {op.max_tokens:,} tokens")
    if isinstance(type_, Scored):
        return scored(read(type_.item, drawn.text), drawn.scores)
    return read(type_, drawn.text)


def _outputs(function: Function, frame: _Frame) -> Json | Failure:
    """What a call gives: its one output, or a record of all."""
    values = [frame.get(value) for value in function.body.yields]
    if len(function.outputs) == 1:
        return values[0]
    failed = next((value for value in values if isinstance(value, Failure)), None)
    return failed or dict(zip(function.outputs, values, strict=True))


def _samples(op: Op) -> bool:
    """Whether the op is a sampled generation or holds one."""
    if isinstance(op, Generate):
        return op.is_sampled()
    return any(_samples(inner) for block in blocks(op) for inner in block.ops)


def _whole(values: list[Any]) -> list[Any] | Failure:
    return next((value for value in values if isinstance(value, Failure)), values)

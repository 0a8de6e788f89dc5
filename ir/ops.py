"""The ops of the IR. A prompt's state is a value: filling a context makes the next one.

A *context* is the state of a model after reading some tokens. Using one context twice is a fork,
so sharing a prompt is common-subexpression elimination, keeping it warm is hoisting, and freeing
it is liveness. Nothing here is ever changed in place; a pass builds a new module.

Two levels share these ops. As the author wrote it, a flow holds `Call`s of semantic functions; a
function's body is a region over contexts. `lower-calls` inlines the bodies, and what is left are
contexts (`Open`, `Message`, `End`, `Fill`, `Generate`, `Render`, `Free`), data (`Const`, `Apply`,
`Native`) and control (`Map`, `Fold`, `If`, `Attempt`).

Structured control flow only: a region ends in `yields`, sees every value defined before it in the
regions around it, and there is no φ. Values are named once in a flow (SSA). Spans take no part in
equality, nor in printing: two texts that say the same are the same module.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from parrotc.ir.source import Span
from parrotc.ir.types import Enum, Field, Json, ListOf, Record, Type, freeze

# name → JSON data, sorted by name, with tuples for lists and for records, so ops can be hashed
Attrs = tuple[tuple[str, Json], ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A name that is assigned once. `%c1` in text is `Value("c1", CONTEXT)`."""

    name: str
    type: Type

    def __hash__(self) -> int:
        return hash(self.name)  # tells values of a flow apart, and types may be large


@dataclass(frozen=True, slots=True)
class Block:
    """A region: parameters, ops in order, and the values it gives to the op that holds it."""

    params: tuple[Value, ...]
    ops: tuple["Op", ...]
    yields: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Base of every op: the values it assigns, what passes noted about it, where it came from.

    `notes` never change what an op means; they say when, where and with whom to run it:
    `criteria`, `group`, `rank`, `tokens`, `scope`, `pin`, `next_use`, … (the pass that writes a
    note documents it).
    """

    results: tuple[Value, ...]
    notes: Attrs = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def result(self) -> Value:
        (value,) = self.results
        return value

    def is_pure(self) -> bool:
        """Whether two equal ops always give equal values, so that one may stand for both."""
        return True

    def has_effect(self) -> bool:
        """Whether running it can be seen from outside, so that it must run even if unused."""
        return False

    def note(self, name: str) -> Json:
        return next((value for key, value in self.notes if key == name), None)

    def with_notes(self, **notes: Json) -> Self:
        """This op with some notes set (or, where the value is None, removed)."""
        merged = {**dict(self.notes), **notes}
        kept = tuple((k, freeze(merged[k])) for k in sorted(merged) if merged[k] is not None)
        return replace(self, notes=kept)


# --- data ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Const(Op):
    """A known value. Lists and records are held as canonical JSON text, so ops stay hashable."""

    json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Op):
    """A function of `ir/scalar.py` (arithmetic, comparison, `get`, `list`, `format`, filters, …).

    Pure, total up to an error it raises with a message for people. `attrs` are what must be known
    when compiling: a field name, a format's texts.
    """

    function: str
    args: tuple[Value, ...]
    attrs: Attrs = ()


class Effect(StrEnum):
    PURE = "pure"  # same arguments, same value; nothing seen from outside
    IDEMPOTENT = "idempotent"  # may run again, must not be dropped or merged
    EFFECTFUL = "effectful"  # runs exactly once per mention


@dataclass(frozen=True, slots=True, kw_only=True)
class Native(Op):
    """A call of a Python function declared by `extern` (or by the standard library)."""

    native: str
    args: tuple[Value, ...]
    effect: Effect = Effect.EFFECTFUL

    def is_pure(self) -> bool:
        return self.effect is Effect.PURE

    def has_effect(self) -> bool:
        return self.effect is not Effect.PURE


# --- calls, as the author wrote them ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Op):
    """A call of a semantic function: opens a context of `model`, reads the prompt, generates.

    `site` names the place in the program for draws and messages; passes keep it. With `count`,
    everything from the first sampled generation runs that many times after one shared prompt and
    a list comes back. Retrying and tolerating a failure are an `Attempt` around the call.

    Of the arguments that `handed` numbers, the prompt reads not the text but the ids it was
    generated as (`with (handover=tokens)`).
    """

    function: str
    args: tuple[Value, ...]
    model: str
    site: str
    count: Value | None = None
    handed: tuple[int, ...] = ()

    def is_pure(self) -> bool:
        return False  # known only after `lower-calls`, generation by generation


# --- control ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(Op):
    """`body` for every item of `items`, in any order or at once; a list for each yield.

    The body's parameters are the item and its index.
    """

    items: Value
    body: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold(Op):
    """`body` for every item in turn, carrying values from one iteration to the next.

    The body's parameters are the item, its index and the carried values; it yields the next ones.
    With `early`, the first yield is a bool that says whether to go on.
    """

    items: Value
    inits: tuple[Value, ...]
    body: Block
    early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Op):
    """The yields of `then` or of `orelse`. Only the taken branch runs."""

    condition: Value
    then: Block
    orelse: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Op):
    """The yields of `body`, run again up to `retries` times while it fails.

    A run of the body draws with its attempt number in the key, so a sampled call gets another
    draw. If the last one fails too: None for every yield when `tolerant`, else the failure.
    """

    body: Block
    retries: int = 0
    tolerant: bool = False


# --- contexts ---


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a prompt, tokenised together with its neighbours up to the next hard boundary."""

    text: str


@dataclass(frozen=True, slots=True)
class Ids:
    """Token ids fixed when compiling, with the text they stand for.

    They begin at a hard boundary: what came before is tokenised without looking at them. Special
    tokens of a template are always `Ids`, never `Text`, so no value can imitate one.
    """

    ids: tuple[int, ...]
    text: str


Part = Text | Ids | Value


def is_handed(part: Part) -> bool:
    """Whether a part is a value that holds token ids: they are read as they are, with a hard
    boundary before and after them."""
    return isinstance(part, Value) and isinstance(part.type, ListOf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Op):
    """A context of `model` that has read nothing, or exactly the module's prefix `prefix`."""

    model: str
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Op):
    """The context at the start of a message of `role`. Gone after `apply-template`."""

    context: Value
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Op):
    """The context at the end of the message that is open. Gone after `apply-template`."""

    context: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Op):
    """The context after reading `parts`. A `str` value is read verbatim and never parsed; a
    `list<int>` holds token ids (`is_handed`)."""

    context: Value
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Op):
    """What the model continues with: results are the context after it, and the value.

    The type of the value is the constraint (choice, range, regex, JSON Schema, scored). Greedy
    and seeded generation is pure. Sampling is not: two equal ops are two independent draws, which
    is why values are compared by name and ops are never hash-consed. Draws are keyed by (run
    seed, `site`, iteration indices, token position), so no pass changes one by moving others.
    """

    context: Value
    site: str
    name: str = ""  # the output's name, for people and for text engines
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    seed: int | None = None  # replaces the run seed and the site in the draw key
    stop: tuple[str, ...] = ()

    def is_sampled(self) -> bool:
        return self.temperature > 0.0 and self.seed is None

    def is_pure(self) -> bool:
        return not self.is_sampled()


@dataclass(frozen=True, slots=True, kw_only=True)
class Render(Op):
    """The context with all messages so far put through the model's template when it runs.

    Only where a template is not verbatim message by message; it costs the sharing inside.
    """

    context: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Free(Op):
    """The last use of a context on this path: its storage goes when no other holds it."""

    context: Value

    def is_pure(self) -> bool:
        return False

    def has_effect(self) -> bool:
        return True


OPS: dict[str, type[Op]] = {
    "const": Const, "apply": Apply, "native": Native, "call": Call,
    "map": Map, "fold": Fold, "if": If, "attempt": Attempt,
    "context.open": Open, "context.message": Message, "context.end": End, "context.fill": Fill,
    "context.gen": Generate, "context.render": Render, "context.free": Free,
}  # fmt: skip


# --- what ops are part of ---


@dataclass(frozen=True, slots=True)
class EnvRef:
    """The name of an environment variable, read when a plan is loaded: a plan holds no secret."""

    name: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model the program names: `kind` is the constructor (`builtin`, `openai`, `azure`)."""

    name: str
    kind: str
    target: str  # the constructor's first argument: a model name, a folder, a GGUF file
    options: tuple[tuple[str, Json | EnvRef], ...] = ()


@dataclass(frozen=True, slots=True)
class Param:
    value: Value
    default: Json = field(default=None, hash=False)  # may be a list
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class NativeDecl:
    """A native function: `target` is `module:attr`, looked up when it first runs."""

    name: str
    target: str
    params: tuple[Param, ...]
    result: Type
    effect: Effect = Effect.EFFECTFUL
    timeout: float = 60.0  # seconds
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Function:
    """A semantic function. The first parameter of `body` is the context it reads into; the others
    are `params` in order. `body` yields one value per output."""

    name: str
    outputs: tuple[str, ...]  # names of the outputs; one empty name for a single unnamed one
    body: Block
    span: Span | None = field(default=None, compare=False, repr=False)

    def result_type(self) -> Type:
        """The type of the one unnamed output, or a record of all."""
        types = [value.type for value in self.body.yields]
        if self.outputs == ("",):
            return types[0]
        pairs = zip(self.outputs, types, strict=True)
        return Record("", tuple(Field(name, type_) for name, type_ in pairs))


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow: `body` has the flow's parameters and yields its one result."""

    name: str
    params: tuple[Param, ...]
    body: Block
    notes: Attrs = ()  # criteria, deadline, ttft, tpot of the result
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def result(self) -> Value:
        (value,) = self.body.yields
        return value


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that several contexts of the module begin with, after those of `parent`."""

    name: str
    model: str
    parent: str | None
    ids: tuple[int, ...]
    text: str
    notes: Attrs = ()


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    types: tuple[Enum | Record, ...] = ()
    models: tuple[Model, ...] = ()
    natives: tuple[NativeDecl, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    functions: tuple[Function, ...] = ()
    flows: tuple[Flow, ...] = ()


# --- walking ---


# The fields of each kind of op that hold values it reads: asked for every op in every pass.
_READS: dict[type[Op], tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.name != "results" and "Value" in str(f.type))
    for kind in OPS.values()
}


_HOLDERS = frozenset((Map, Fold, If, Attempt))


def operands(op: Op) -> Iterator[Value]:
    """The values an op reads itself, in field order; not those its regions read."""
    for name in _READS[type(op)]:
        held = getattr(op, name)
        if isinstance(held, Value):
            yield held
        elif held is not None:
            for item in held:
                if isinstance(item, Value):
                    yield item


def blocks(op: Op) -> tuple[Block, ...]:
    """The regions of an op."""
    if type(op) not in _HOLDERS:  # nearly always
        return ()
    match op:
        case Map() | Fold() | Attempt():
            return (op.body,)
        case If():
            return (op.then, op.orelse)
    return ()


def with_blocks(op: Op, new: tuple[Block, ...]) -> Op:
    """The op with its regions replaced, in the order `blocks` gives them."""
    match op:
        case Map() | Fold() | Attempt():
            (body,) = new
            return replace(op, body=body)
        case If():
            then, orelse = new
            return replace(op, then=then, orelse=orelse)
    return op


def substitute(op: Op, names: dict[Value, Value], results: tuple[Value, ...] | None = None) -> Op:
    """The op with its own operands renamed, and its results replaced if new ones are given.

    Its regions are left as they are.
    """
    changes: dict[str, Any] = {} if results is None else {"results": results}
    for name in _READS[type(op)] if names else ():
        held = getattr(op, name)
        if isinstance(held, Value):
            if held in names:
                changes[name] = names[held]
        elif held and any(isinstance(v, Value) and v in names for v in held):
            changes[name] = tuple(names.get(v, v) if isinstance(v, Value) else v for v in held)
    return replace(op, **changes) if changes else op


def walk(block: Block) -> Iterator[Op]:
    """Every op of a block and of the regions in it, outer before inner, in order."""
    for op in block.ops:
        yield op
        for inner in blocks(op):
            yield from walk(inner)

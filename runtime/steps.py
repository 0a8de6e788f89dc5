"""The steps of a plan: what the runtime does, as data.

They mirror the ops that are left after lowering. Values are names that are assigned once; a region
sees every name assigned before it in the regions around it. `op` names the kind in the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypedDict

from parrotc.ir.types import Json

Place = tuple[int, int, int]  # source index, start and end in characters


class Data:
    """Base of everything in a plan: unknown fields and wrong types are refused when loading."""

    __slots__ = ()
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}


# --- steps ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBase(Data):
    """What every step has: the names it assigns, hints on when to run it, and its place."""

    results: tuple[str, ...] = ()
    notes: dict[str, Json] = field(default_factory=dict)
    span: Place | None = None


class Base(TypedDict):
    """The fields of `StepBase`, for building any step from the same ones."""

    results: tuple[str, ...]
    notes: dict[str, Json]
    span: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Const(StepBase):
    """A known value."""

    op: Literal["const"] = "const"
    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(StepBase):
    """A pure function of `ir/scalar.py`."""

    op: Literal["apply"] = "apply"
    function: str
    args: tuple[str, ...] = ()
    attrs: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Native(StepBase):
    """A call of a declared Python function. `effect` means it must run even if unused."""

    op: Literal["native"] = "native"
    native: str
    args: tuple[str, ...] = ()
    effect: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(StepBase):
    """`body(item, index)` for every item, in any order; a list for each yield."""

    op: Literal["map"] = "map"
    items: str
    body: "Block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold(StepBase):
    """`body(item, index, *carried)` in turn. With `early`, the first yield tells to go on."""

    op: Literal["fold"] = "fold"
    items: str
    inits: tuple[str, ...] = ()
    body: "Block"
    early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class If(StepBase):
    """The yields of the branch that the condition takes."""

    op: Literal["if"] = "if"
    condition: str
    then: "Block"
    orelse: "Block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(StepBase):
    """`body`, run again up to `retries` times while it fails; at last None, when `tolerant`."""

    op: Literal["attempt"] = "attempt"
    body: "Block"
    retries: int = 0
    tolerant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(StepBase):
    """A context that has read nothing, or exactly a prefix of the plan."""

    op: Literal["open"] = "open"
    model: str
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(StepBase):
    """The start of a message. Only where a template runs late, and for chat endpoints."""

    op: Literal["message"] = "message"
    context: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End(StepBase):
    """The end of the open message."""

    op: Literal["end"] = "end"
    context: str


@dataclass(frozen=True, slots=True)
class TextPart(Data):
    """Text that is tokenised together with its neighbours, when it is filled."""

    text: str


@dataclass(frozen=True, slots=True)
class IdsPart(Data):
    """Tokens fixed when compiling, and the text they stand for. They begin at a hard boundary."""

    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class ValuePart(Data):
    """A text value, read verbatim."""

    value: str


Part = TextPart | IdsPart | ValuePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(StepBase):
    """The context after reading `parts`."""

    op: Literal["fill"] = "fill"
    context: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(StepBase):
    """The context after generating, and the value. `type` is an index into the plan's types.

    `function` is the semantic function that says it, `name` which of its outputs it is.
    """

    op: Literal["generate"] = "generate"
    context: str
    site: str
    type: int
    function: str = ""
    name: str = ""
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Render(StepBase):
    """The messages of a context put through the model's chat template."""

    op: Literal["render"] = "render"
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Free(StepBase):
    """The last use of a context on this path."""

    op: Literal["free"] = "free"
    context: str


class _ByOp:
    """Tells pydantic, when it is there, to choose a step's class by its `op` alone."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field as PydanticField

        return handler.generate_schema(Annotated[source, PydanticField(discriminator="op")])


AnyStep = (
    Const | Apply | Native | Map | Fold | If | Attempt
    | Open | Message | End | Fill | Generate | Render | Free
)  # fmt: skip
Step = Annotated[AnyStep, _ByOp()]


@dataclass(frozen=True, slots=True)
class Block(Data):
    """A region: the names it is given, its steps in order, and the names it gives back."""

    params: tuple[str, ...]
    steps: tuple[Step, ...]
    yields: tuple[str, ...]


def walk(block: Block) -> Iterator[AnyStep]:
    """Every step of a block and of the regions in it, outer before inner, in order."""
    for step in block.steps:
        yield step
        for inner in blocks(step):
            yield from walk(inner)


def blocks(step: AnyStep) -> tuple[Block, ...]:
    """The regions of a step."""
    match step:
        case Map() | Fold() | Attempt():
            return (step.body,)
        case If():
            return (step.then, step.orelse)
    return ()


def reads(step: AnyStep) -> tuple[str, ...]:
    """The names a step reads itself, in order; not those its regions read."""
    match step:
        case Apply() | Native():
            return step.args
        case Map():
            return (step.items,)
        case Fold():
            return (step.items, *step.inits)
        case If():
            return (step.condition,)
        case Const() | Attempt() | Open():
            return ()
        case Fill():
            return (step.context, *(p.value for p in step.parts if isinstance(p, ValuePart)))
    return (step.context,)

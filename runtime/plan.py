"""The plan: what is left of a program after compiling, and all that the runtime knows of it.

Pure data: no code, no secrets, nothing imported. Constants are token ids of a named tokenizer,
values are names that are assigned once, and every step carries the place in the user's text it
came from. A plan is written as canonical JSON, so the same program always gives the same bytes:

    {"compiler":"0.1.0","flows":[{"block":{"params":["doc"],"steps":[{"op":"open",…}],…

The digest is the sha256 of the whole file with the digest itself written as zeros, so any changed
byte is found. `from_json` checks it, then the format, then every field.
"""

import json
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.ir.types import Json, Type, from_json
from parrotc.runtime.steps import Block, Data, Generate, Native, Open, Place, blocks, reads, walk

FORMAT = 1


class PlanError(Exception):
    """A plan that cannot be used, with the reason as a diagnostic for people."""

    def __init__(self, code: str, message: str, *, notes: tuple[str, ...] = (), help: str = ""):
        self.diagnostic = Diagnostic(code, message, notes=notes, help=help)
        self.diagnostics = (self.diagnostic,)
        super().__init__(self.diagnostic.render())


# --- what steps refer to ---


@dataclass(frozen=True, slots=True)
class SourceText(Data):
    """A source file, whole, so that an error at run time can show the line."""

    name: str
    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class Embedded(Data):
    """A file that `embed` read when compiling."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ChatTemplate(Data):
    """A chat template with the variables it was compiled with; `now` is an ISO date, or empty."""

    source: str
    bos: str = ""
    eos: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Data):
    """A model: what runs it, and the tokenizer and template the plan was made for.

    `env` names the environment variables that options are read from when the plan runs: a plan
    holds no secret. `fingerprint` is empty for an endpoint that takes text. `template` is there
    where a `Render` step needs it, or where the model stands in for an endpoint.
    """

    name: str
    kind: str
    target: str
    options: dict[str, Json] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    context_length: int = 8192
    template: ChatTemplate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Param(Data):
    """A parameter. `type` is an index into the plan's types."""

    name: str
    type: int
    default: Json = None
    has_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeDecl(Data):
    """A Python function: `target` is `module:attr`, looked up when it first runs."""

    name: str
    target: str
    params: tuple[Param, ...] = ()
    result: int
    effect: str = "effectful"
    timeout: float = 60.0
    span: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix(Data):
    """Tokens that several contexts begin with, after those of `parent`."""

    name: str
    model: str
    parent: str | None = None
    ids: tuple[int, ...]
    text: str
    notes: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Data):
    """A flow: its parameters, the type of its result, and its steps."""

    name: str
    params: tuple[Param, ...] = ()
    result: int
    notes: dict[str, Json] = field(default_factory=dict)
    block: Block
    span: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLevel(Data):
    """The program before lowering, as IR text, so that it can be compiled for another model.

    `spans` are the places of all that is in it (`planner.places`): text does not carry them.
    """

    text: str
    spans: tuple[Place | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan(Data):
    """A compiled program. `root` is the folder of the program's source, as seen from the folder
    the plan file lies in: `extern` modules are looked up there first."""

    format: int = FORMAT
    compiler: str
    digest: str = ""
    name: str
    level: str
    root: str = "."
    sources: tuple[SourceText, ...] = ()
    embedded: tuple[Embedded, ...] = ()
    types: tuple[Json, ...] = ()
    models: tuple[Model, ...] = ()
    natives: tuple[NativeDecl, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    flows: tuple[Flow, ...] = ()
    flow_level: FlowLevel
    passes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """The plan as canonical JSON, with its digest, ending in a newline."""
        data = _plain(self) | {"digest": _NO_DIGEST, "format": self.format}
        text = json.dumps(
            data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        raw = (text + "\n").encode()
        digest = sha256(raw).hexdigest()
        return raw.replace(_digest_field(_NO_DIGEST), _digest_field(digest), 1)

    @staticmethod
    def from_json(raw: bytes) -> "Plan":
        """The plan that `to_json` wrote. Raises `PlanError` for anything else."""
        return _read(raw)

    def flow(self, name: str) -> Flow:
        """The flow of that name; `KeyError` if there is none."""
        for flow in self.flows:
            if flow.name == name:
                return flow
        raise KeyError(name)

    def signature(self, flow: Flow) -> str:
        """What a flow takes and gives, for people: `ask(q: str, n: int = 3) -> str`."""
        takes = ", ".join(
            f"{param.name}: {self.type_table[param.type]}"
            + (f" = {param.default!r}" if param.has_default else "")
            for param in flow.params
        )
        return f"{flow.name}({takes}) -> {self.type_table[flow.result]}"

    @cached_property
    def type_table(self) -> tuple[Type, ...]:
        return tuple(from_json(data) for data in self.types)

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        return tuple(Source(source.name, source.text) for source in self.sources)

    def span(self, place: Place | None) -> Span | None:
        """A place as a span of its source, for diagnostics."""
        if place is None:
            return None
        index, start, end = place
        return Span(self._sources[index], start, end)


# --- reading and writing ---

_NO_DIGEST = "0" * 64


def _digest_field(digest: str) -> bytes:
    return f'"digest":"{digest}"'.encode()


@cache
def _layout(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((spec.name, _default(spec)) for spec in fields(kind))


def _default(spec: Field[Any]) -> Any:
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    return spec.default  # MISSING equals nothing, so a required field is always written


def _plain(held: Any) -> Any:
    """Dataclasses as dicts without the fields that hold their default, tuples as lists."""
    if isinstance(held, str | int | float | None):
        return held
    if isinstance(held, tuple | list):
        return [_plain(item) for item in held]
    if isinstance(held, dict):
        return {name: _plain(item) for name, item in held.items()}
    kind: Any = type(held)
    kept = ((name, getattr(held, name), default) for name, default in _layout(kind))
    return {n: _plain(v) for n, v, default in kept if n == "op" or not _same(v, default)}


def _same(value: Any, default: Any) -> bool:
    """Equal and of one type: a default of 0 does not stand for False, nor 1 for 1.0."""
    return type(value) is type(default) and bool(value == default)


def _read(raw: bytes) -> Plan:
    data = _parsed(raw)
    if data["format"] != FORMAT:
        raise PlanError(
            "E0652",
            f"the plan has format {data['format']}, and this parrotc reads format {FORMAT}",
            notes=(f"it was written by parrotc {data.get('compiler', '?')}",),
            help="compile the program again",
        )
    digest = data.get("digest")
    zeroed = raw.replace(_digest_field(str(digest)), _digest_field(_NO_DIGEST), 1)
    if sha256(zeroed).hexdigest() != digest:
        raise PlanError(
            "E0653",
            "the plan was changed after it was written: its digest does not match",
            help="compile the program again",
        )
    return _validated(raw)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        whole = raw.lstrip()[:1] == b"{" and b'"compiler"' in raw[:4096]
        if whole:
            message = "the plan is damaged or cut short: it is not complete JSON"
        else:
            message = "the file is not a plan"
        raise PlanError("E0651", message, help="a plan is made by `parrotc compile`") from None
    if not isinstance(data, dict) or "format" not in data or "flows" not in data:
        raise PlanError(
            "E0651", "the file is JSON but not a plan", help="a plan is made by `parrotc compile`"
        )
    return data


def _validated(raw: bytes) -> Plan:
    from pydantic import ValidationError

    try:
        plan: Plan = _adapter().validate_json(raw)
        _check_references(plan)
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(map(str, first["loc"])) if first else ""
        what = first["msg"] if first else str(error)
        raise PlanError(
            "E0654", f"the plan is not well formed: {where}: {what}" if where else what
        ) from None
    return plan


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Plan)


def _check_references(plan: Plan) -> None:
    """That indexes and names lead somewhere. Raises `ValueError`."""
    from_types = len(plan.type_table)
    models = {model.name for model in plan.models}
    natives = {native.name for native in plan.natives}
    prefixes = {prefix.name for prefix in plan.prefixes}
    for flow in plan.flows:
        _check_names(flow.block, set())
        for step in walk(flow.block):
            match step:
                case Open() if step.model not in models or (step.prefix or "") not in prefixes | {
                    ""
                }:
                    raise ValueError(
                        f"the plan opens a model or prefix it does not declare: {step}"
                    )
                case Native() if step.native not in natives:
                    raise ValueError(f"the plan calls a native it does not declare: {step.native}")
                case Generate() if not 0 <= step.type < from_types:
                    raise ValueError(f"the plan has no type {step.type}")
            if step.span and not 0 <= step.span[0] < len(plan.sources):
                raise ValueError(f"the plan has no source {step.span[0]}")


def _check_names(block: Block, known: set[str]) -> None:
    """That every name is assigned, once, before it is read; `known` is as it was afterwards."""
    assigned: list[str] = []

    def assign(names: tuple[str, ...]) -> None:
        for name in names:
            if name in known:
                raise ValueError(f"the plan assigns `{name}` twice")
            known.add(name)
            assigned.append(name)

    assign(block.params)
    for step in block.steps:
        for name in reads(step):
            if name not in known:
                raise ValueError(f"the plan reads `{name}` before it is assigned")
        for inner in blocks(step):
            _check_names(inner, known)
        assign(step.results)
    for name in block.yields:
        if name not in known:
            raise ValueError(f"the plan gives back `{name}`, which is not assigned")
    known.difference_update(assigned)

"""A recording: what engines have answered, in a file of JSON lines that people can read and diff.

    {"recording": 1}
    {"model": {"kind": "builtin", "target": "…", "handshake": {…}}}
    {"answer": {"model": "builtin:…", "key": "…", "prompt": "…", "sampling": {…}, "finished": {…}}}

An answer is found by all that determines it: the model, the exact tokens of the prompt, how tokens
are chosen (the key of the draws among that) and the constraint. A model comes with what compiling
for it needs, so that a program is compiled and run with nothing but the file. The last of several
answers with one key counts; a last line that was cut off, as by a crash, is left out.
"""

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.http.handshake import Handshake
from parrotc.runtime.engines.http.wire import FINISHED, PIECE
from parrotc.runtime.engines.protocol import Constraint, Finished, GenerateRequest, Piece, Sampling
from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.texts import ALPHABET, Alphabet
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer

VERSION = 1

Json = Any


class RecordingError(Exception):
    """A recording that cannot be used, with the reason as a diagnostic for people."""

    def __init__(self, message: str, help: str = "") -> None:
        self.diagnostics = (Diagnostic("E0663", message, help=help),)
        super().__init__(self.diagnostics[0].render())


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """A model of a recording. Without a `handshake` it is an endpoint that reads text."""

    kind: str
    target: str
    handshake: Handshake | None

    @classmethod
    def of(
        cls,
        kind: str,
        target: str,
        tokenizer: "Tokenizer | ByteTokenizer | Alphabet",
        template: ChatTemplate | None,
    ) -> "RecordedModel":
        if isinstance(tokenizer, Alphabet):
            return cls(kind, target, None)
        return cls(kind, target, Handshake.of(tokenizer, template, lease=0.0))

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.target}"

    def tokenizer(self) -> "Tokenizer | ByteTokenizer | Alphabet":
        """Raises `RecordingError` where it cannot be made here."""
        if self.handshake is None:
            return ALPHABET
        try:
            return self.handshake.make_tokenizer()
        except ValueError as error:
            raise RecordingError(
                f"the tokenizer of `{self.name}` cannot be used: {error}"
            ) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine said, and to what. `prompt` and `asked` are for people: see `key`."""

    model: str
    key: str
    prompt: str
    asked: Mapping[str, Json]
    pieces: tuple[Piece, ...]
    finished: Finished


def key(model: str, prompt: Sequence[int], request: GenerateRequest) -> str:
    """Of all that determines an answer."""
    asked = [model, asdict(request.sampling), _plain(request.constraint), request.said]
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode() + b"\0" + array("I", prompt).tobytes()).hexdigest()


def asked(request: GenerateRequest) -> dict[str, Json]:
    """How tokens were to be chosen, without what is as always; for people to read."""
    usual = {f.name: f.default for f in fields(Sampling) if f.default is not MISSING}
    told = {n: v for n, v in asdict(request.sampling).items() if n not in usual or v != usual[n]}
    if request.constraint is not None:
        told["constraint"] = _plain(request.constraint)
    return told


def _plain(constraint: Constraint | None) -> Json:
    if constraint is None:
        return None
    return {name: value for name, value in asdict(constraint).items() if value}


# --- writing ---


class Recorder:
    """Adds one model's answers to a file, each as soon as it is there."""

    def __init__(self, path: Path, model: RecordedModel) -> None:
        """Raises `RecordingError` for a file that is there and is no recording, or cannot be
        written."""
        self.model = model
        self._path = path
        known = path.exists() and path.stat().st_size > 0
        lines: list[Json] = [] if known else [{"recording": VERSION}]
        if not known or read(path).models.get(model.name) != model:
            lines.append({"model": to_jsonable_python(model)})
        self._write(lines)

    def add(self, answer: Answer) -> None:
        self._write([{"answer": _written(answer)}])

    def _write(self, lines: Iterable[Json]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            why = error.strerror or error
            raise RecordingError(f"{self._path} cannot be written: {why}") from None


def _written(answer: Answer) -> Json:
    """Without fields that say nothing."""
    data = {f.name: to_jsonable_python(getattr(answer, f.name)) for f in fields(answer)}
    data["finished"] = _telling(data["finished"])
    data["pieces"] = list(map(_telling, data["pieces"]))
    return data


def _telling(data: Mapping[str, Json]) -> Json:
    return {n: v for n, v in data.items() if v not in ("", [], None) and v is not False}


# --- reading ---


@dataclass(slots=True)
class Recording:
    """What a file holds."""

    name: str
    models: dict[str, RecordedModel] = field(default_factory=dict)  # by name
    answers: dict[str, Answer] = field(default_factory=dict)  # by key

    def model(self, kind: str, target: str) -> RecordedModel:
        """The model of that name, or the only one: a program may be recorded on another engine
        than it names. Raises `RecordingError`."""
        name = f"{kind}:{target}"
        if name in self.models:
            return self.models[name]
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        there = ", ".join(f"`{name}`" for name in self.models) or "none"
        raise RecordingError(
            f"{self.name} has no answers of `{name}`; its models are {there}",
            help="name the engine that it was recorded on, with --engine or --model",
        )


def read(path: Path) -> Recording:
    """Raises `RecordingError`."""
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from None


@cache
def _read(path: Path, changed: int, size: int) -> Recording:
    del changed, size  # parts of the key only
    recording = Recording(str(path))
    try:
        *lines, last = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError:
        raise RecordingError(f"{path} is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        try:
            _line(recording, json.loads(line), number)
        except (ValueError, TypeError, LookupError) as error:
            raise RecordingError(f"{path}:{number} is no line of a recording: {error}") from None
    if not lines:
        raise RecordingError(f"{path} is no recording{': it is empty' * (not last)}")
    return recording


def _line(recording: Recording, data: Json, number: int) -> None:
    match data:
        case {"recording": version} if number == 1:
            if version != VERSION:
                raise ValueError(f"it is of version {version}, and this one reads {VERSION}")
        case {"model": {"kind": str(kind), "target": str(target), "handshake": handshake}}:
            raw = None if handshake is None else json.dumps(handshake).encode()
            met = None if raw is None else Handshake.from_json(raw)
            model = RecordedModel(kind, target, met)
            recording.models[model.name] = model
        case {"answer": dict(answer)}:
            found = _answer(answer)
            recording.answers[found.key] = found
        case _:
            raise ValueError("it says nothing that is known")
    if number == 1 and "recording" not in data:
        raise ValueError("the first line says `recording`")


def _answer(data: dict[str, Json]) -> Answer:
    try:
        pieces = tuple(PIECE.validate_python({"text": "", **piece}) for piece in data["pieces"])
        finished = FINISHED.validate_python({"text": "", "ids": (), **data["finished"]})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}") from None
    told = {name: data[name] for name in ("model", "key", "prompt", "asked")}
    return Answer(**told, pieces=pieces, finished=finished)

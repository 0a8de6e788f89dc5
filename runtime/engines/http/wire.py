"""Requests and answers of an engine as JSON: the fields of `protocol.py`, by their names there.

    {"context": 2, "parent": 1, "ids": [5, 6]}            FillRequest, or with "text" for "ids"
    {"context": 3, "parent": 2, "sampling": {"max_tokens": 9}}              GenerateRequest
    {"context_id": 3, "parent_context_id": 2, "sampling_config": {"max_gen_length": 9}}

The last is Parrot's spelling of the second. Its names stand for ours by the tables below, and
nothing else does: a key that neither side knows is refused. One thing it means differently: a
context that exists already is continued in place (`grows`), where ours are immutable.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

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

Json = Any

CLIENT = "Parrotc-Client"  # the header in which a client names itself
TOKENIZER = "Parrotc-Tokenizer"  # and the one that says for which tokenizer its ids are

INFO, PIECE, FINISHED = TypeAdapter(EngineInfo), TypeAdapter(Piece), TypeAdapter(Finished)
_FILL, _GENERATE = TypeAdapter(FillRequest), TypeAdapter(GenerateRequest)
_CONTEXTS, _FLAG = TypeAdapter(tuple[int, ...]), TypeAdapter(bool)

# Parrot's names for ours
_CONTEXT_NAMES = {"context_id": "context", "parent_context_id": "parent", "parent_id": "parent"}
_FILL_NAMES = {**_CONTEXT_NAMES, "token_ids": "ids", "tokens_id": "ids"}
_GENERATE_NAMES = {**_CONTEXT_NAMES, "sampling_config": "sampling"}
_SAMPLING_NAMES = {
    "max_gen_length": "max_tokens",
    "stop_str": "stop",
    "stop_token_ids": "stop_ids",
    "ignore_tokenizer_eos": "ignore_eos",
}
# what it says of a request beyond that: who asked, and that a context is complete
_BOOKKEEPING = frozenset({"pid", "tid", "session_id", "task_id", "end_flag"})
# settings that are understood only where they change nothing
_NEUTRAL: Mapping[str, tuple[Json, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logit_bias": (None, {}),
    "length_penalty": (0, 1),
}

_MOST_LOGPROBS = 100


class Encoder(Protocol):
    """What reading needs of a tokenizer."""

    vocab_size: int

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Fill:
    """Contexts to be made together. `grows`: one that exists already is continued in place."""

    requests: tuple[FillRequest, ...]
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Generate:
    request: GenerateRequest
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Free:
    """Contexts to be dropped, stopped or hurried. `dead`: nobody will fill their tokens again."""

    contexts: tuple[ContextId, ...]
    dead: bool = False


Primitive = Fill | Generate | Free


# --- reading; everything raises `EngineError` with the code `invalid` ---


def parse(body: bytes) -> Json:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise EngineError("invalid", f"the request is not JSON: {error}") from None


class Reader:
    """Reads requests for one model. `random` gives sampled generations that name no key one."""

    def __init__(self, tokenizer: Encoder, random: Random) -> None:
        self._tokenizer = tokenizer
        self._random = random

    def fill(self, data: Json) -> Fill:
        """From one request, a list of them, or `{"requests": [...]}`."""
        if isinstance(data, dict) and "requests" in data:
            _known(data, {"requests"}, "a fill")
            data = data["requests"]
        items = data if isinstance(data, list) else [data]
        if not items:
            raise EngineError("invalid", "a fill needs at least one request")
        grows = [_is_parrots(item) for item in items]
        if any(grows) and not all(grows):
            raise EngineError("invalid", "one fill is spelt in two ways: `context`, `context_id`")
        return Fill(tuple(map(self._fill, items)), any(grows))

    def _fill(self, item: Json) -> FillRequest:
        own = _renamed(item, _FILL_NAMES, {*_names(FillRequest), "text"}, "a fill")
        _none_for_no_parent(own)
        text = own.pop("text", None)
        if (text is None) == (own.get("ids") is None):
            raise EngineError("invalid", "a fill needs either `ids` or `text`")
        if text is not None:
            own["ids"] = self._tokenizer.encode(_text(text))
        request: FillRequest = _validated(_FILL, own)
        self._check_ids(request.ids, "ids")
        return request

    def generate(self, data: Json) -> Generate:
        own = _renamed(data, _GENERATE_NAMES, _names(GenerateRequest), "a generation")
        own.pop("hints", None)  # for whoever chose this engine, by a clock of its own
        _none_for_no_parent(own)
        grows = _is_parrots(data)
        if grows and own.get("parent") is None:
            own["parent"] = own.get("context")
        sampling = own.get("sampling")
        own["sampling"] = _sampling({} if sampling is None else sampling)
        if isinstance(own.get("constraint"), dict):
            _known(own["constraint"], _names(Constraint), "a constraint")
        request: GenerateRequest = _validated(_GENERATE, self._with_key(own))
        _check_generation(request)
        self._check_ids(getattr(request.sampling, "stop_ids", ()), "stop_ids")
        self._check_ids(request.said, "said")
        return Generate(request, grows)

    def free(self, data: Json) -> Free:
        """From a list of contexts, `{"contexts": [...]}`, or Parrot's `{"context_id": 1}`."""
        dead = False
        if isinstance(data, dict):
            known = {"contexts", "context_id", "dead"}
            own = _renamed(data, {"context_ids": "contexts"}, known, "a free")
            dead = _validated(_FLAG, own.get("dead", False))
            data = own.get("contexts", [own["context_id"]] if "context_id" in own else None)
        contexts: tuple[ContextId, ...] = _validated(_CONTEXTS, data)
        if len(set(contexts)) < len(contexts):
            raise EngineError("invalid", "a context is named twice")
        return Free(contexts, dead)

    def batch(self, data: Json) -> list[Primitive]:
        """From `{"primitives": [{"fill": …}, {"generate": …}, {"free": …}]}`, or the list alone."""
        if isinstance(data, dict):
            _known(data, {"primitives"}, "a batch")
            data = data.get("primitives")
        if not isinstance(data, list) or not data:
            raise EngineError("invalid", "a batch is a list of primitives, at least one")
        return [self._primitive(item) for item in data]

    def _primitive(self, item: Json) -> Primitive:
        match item:
            case {"fill": data} if len(item) == 1:
                return self.fill(data)
            case {"generate": data} if len(item) == 1:
                return self.generate(data)
            case {"free": data} if len(item) == 1:
                return self.free(data)
        raise EngineError("invalid", "a primitive has one key: `fill`, `generate` or `free`")

    def _with_key(self, own: dict[str, Json]) -> dict[str, Json]:
        """Parrot's requests bring no key, and yet no two of them are to be the same draw."""
        if isinstance(own["sampling"], dict) and "key" not in own["sampling"]:
            own["sampling"]["key"] = self._random.getrandbits(64)
        return own

    def _check_ids(self, ids: Sequence[int], where: str) -> None:
        if ids and not (min(ids) >= 0 and max(ids) < self._tokenizer.vocab_size):
            raise EngineError("invalid", f"`{where}` has numbers that are no tokens of this model")


def _is_parrots(data: Json) -> bool:
    return isinstance(data, dict) and "context_id" in data


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def _renamed(data: Json, names: Mapping[str, str], known: set[str], what: str) -> dict[str, Json]:
    """`data` under our names only."""
    if not isinstance(data, dict):
        raise EngineError("invalid", f"{what} is a JSON object")
    _known(data, known | names.keys() | _BOOKKEEPING, what)
    own: dict[str, Json] = {}
    for name, value in data.items():
        if name in _BOOKKEEPING:
            continue
        ours = names.get(name, name)
        if own.get(ours) is not None and value is not None:
            raise EngineError("invalid", f"{what} says `{ours}` twice, as `{name}` too")
        if own.get(ours) is None:
            own[ours] = value
    return own


def _known(data: Mapping[str, Json], known: set[str], what: str) -> None:
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise EngineError("invalid", f"{what} has no `{name[:60]}`{hint}")


def _none_for_no_parent(own: dict[str, Json]) -> None:
    if own.get("parent") in (None, -1):  # Parrot writes -1
        own["parent"] = None


def _sampling(data: Json) -> dict[str, Json]:
    known = _names(Sampling) | _NEUTRAL.keys()
    own = _renamed(data, _SAMPLING_NAMES, known, "a sampling")
    for name, harmless in _NEUTRAL.items():
        if name in own and own.pop(name) not in harmless:
            raise EngineError("invalid", f"`{name}` is not supported; leave it out")
    stop = own.get("stop", ())
    if stop is None or isinstance(stop, str):
        own["stop"] = [stop] if stop else []
    if own.get("repetition_penalty") == 0:  # Parrot's word for none
        own["repetition_penalty"] = 1.0
    return {name: value for name, value in own.items() if value is not None}


def _check_generation(request: GenerateRequest) -> None:
    """What an engine in the same process may take for granted."""
    sampling, wanted = request.sampling, request.constraint
    for is_right, words in (
        (math.isfinite(request.rank), "`rank` must be a finite number"),
        (sampling.max_tokens >= 1, "`max_tokens` must be at least 1"),
        (0 <= sampling.key < 2**64, "`key` must be a number of 64 bits"),
        (sampling.logprobs <= _MOST_LOGPROBS, f"`logprobs` must be at most {_MOST_LOGPROBS}"),
        (wanted is None or _is_one(wanted), "a constraint has one of choices, regex, json_schema"),
    ):
        if not is_right:
            raise EngineError("invalid", words)


def _is_one(wanted: Constraint) -> bool:
    given = [x for x in (wanted.choices, wanted.regex, wanted.json_schema) if x is not None]
    return len(given) == 1 and wanted.choices != ()


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise EngineError("invalid", "`text` must be a string")
    return value


def _validated(adapter: TypeAdapter[Any], data: Json) -> Any:
    """As JSON and strictly: a list is a tuple there, and "5" is no number."""
    try:
        return adapter.validate_json(to_json(data), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        words = first["msg"].removeprefix("Value error, ")
        what = f"`{where}`: {words}" if where else words
        raise EngineError("invalid", f"the request is not well formed: {what}") from None


# --- writing ---


def write(value: Json) -> bytes:
    """Plain data or a dataclass as JSON. Raises `EngineError` `invalid` for text that UTF-8 cannot
    say (half of a surrogate pair)."""
    try:
        return to_json(value)
    except PydanticSerializationError as error:
        raise EngineError("invalid", f"the request cannot be written: {error}") from None


def error_json(error: EngineError) -> dict[str, str]:
    return {"code": error.code, "message": str(error)}


def error_of(data: Json) -> EngineError:
    """The error that an answer tells of."""
    if isinstance(data, dict) and isinstance(data.get("message"), str):
        return EngineError(str(data.get("code") or "internal"), data["message"])
    return EngineError("internal", f"the engine answered with what is no error: {str(data)[:200]}")


def line(event: Mapping[str, Json] | None) -> bytes:
    """One line of an answer; a blank one for nothing."""
    return write(event) + b"\n" if event else b"\n"


def lines(buffer: bytearray) -> Iterator[bytes]:
    """Take the whole lines out of `buffer`, those that are not blank."""
    while (end := buffer.find(b"\n")) >= 0:
        line = bytes(buffer[:end]).strip()
        del buffer[: end + 1]
        if line:
            yield line

"""The process in which `extern` functions run: calls come in on one pipe, values go out on another.

    python native_worker.py FOLDER…

It is started as a file, with the standard library alone, so it costs little and the user's modules
see no module of ours. FOLDERs are searched for modules before anything else. Messages both ways
are four bytes of length and JSON; what the function prints goes to standard error.

    {"load": "app.search:find"}                 {"ok": true}
    {"call": "app.search:find", "args": [1]}    {"ok": true, "value": […]}
                                                {"ok": false, "kind": "raised",
                                                 "error": "KeyError: 'x'",
                                                 "place": "app/search.py:12 in find"}
"""

import asyncio
import dataclasses
import enum
import importlib
import inspect
import json
import math
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO


def main(folders: list[str]) -> None:
    """Serve until the parent ends, in whatever way: then its end of the pipe closes."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.path[:1] = folders  # instead of the folder of this file
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    known: dict[str, Callable[..., Any]] = {}
    while True:
        _write(replies, _answer(waiting.get(), known))


def _listen(stream: BinaryIO, waiting: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Pass requests on, and end the process with the pipe, even in the middle of a call."""
    while len(head := stream.read(4)) == 4:
        waiting.put(json.loads(stream.read(int.from_bytes(head, "big"))))
    os._exit(0)


def _write(stream: BinaryIO, message: dict[str, Any]) -> None:
    raw = json.dumps(message).encode()
    stream.write(len(raw).to_bytes(4, "big") + raw)
    stream.flush()


def _answer(request: dict[str, Any], known: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    try:
        if "load" in request:
            known[request["load"]] = _find(request["load"])
            return {"ok": True}
    except BaseException as error:
        return _problem("missing", error)
    try:
        value = known[request["call"]](*request["args"])
        if inspect.isawaitable(value):
            value = asyncio.run(_awaited(value))
        plain = plain_value(value)
    except NotData as error:
        return {"ok": False, "kind": "type", "error": str(error), "place": ""}
    except BaseException as error:
        return _problem("raised", error)
    return {"ok": True, "value": plain}


def _find(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{target} is not a function")
    function: Callable[..., Any] = found
    return function


async def _awaited(value: Any) -> Any:
    return await value


class NotData(Exception):
    """A result that is not plain data, nor anything that stands for it."""


def plain_value(value: Any) -> Any:
    """A result as JSON data: dataclasses, pydantic models and enums become what they stand for."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        raise NotData(f"it gave the float {value}, which JSON does not have")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain_value(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields"):
        return {name: plain_value(getattr(value, name)) for name in type(value).model_fields}
    raise NotData(f"it gave an instance of `{type(value).__name__}`, which is not plain data")


def _problem(kind: str, error: BaseException) -> dict[str, Any]:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    place = f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else ""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"ok": False, "kind": kind, "error": text, "place": place}


if __name__ == "__main__":
    main(sys.argv[1:])

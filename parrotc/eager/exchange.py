"""What goes into a turn of a conversation and comes out of it: functions, models, data, values."""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

from parrotc.eager.arguments import Argument, Known, Later, Many, Missing, Parts
from parrotc.eager.cell import as_failure
from parrotc.eager.library import Callee, Library
from parrotc.eager.talk import function_of
from parrotc.ir.ops import EnvRef, Model
from parrotc.ir.source import Source
from parrotc.ir.types import Json
from parrotc.lower.module import DEFAULT_MODEL
from parrotc.python.words import EnvironmentVariable
from parrotc.python.words import Model as PythonModel
from parrotc.runtime.errors import Failure, RunError


@functools.cache
def speaking(sampling: str) -> Library:
    """`say`, with the sampling of one turn."""
    given = ", ".join(f"{name}={json.dumps(value)}" for name, value in json.loads(sampling).items())
    body = ('user "{{text}}"', f'assistant "{{{{gen {given}}}}}"')
    text = "".join(["pfunc say(text: str) -> str:\n", *(f"    {line}\n" for line in body)])
    return Library.of(Source("<chat>", text), Path.cwd())


def model_of(model: PythonModel | None) -> Model:
    """The model that a program names; none stands for the one that runs where none is named."""
    if model is None:
        return DEFAULT_MODEL
    options = (
        (name, EnvRef(value.name) if isinstance(value, EnvironmentVariable) else value)
        for name, value in model.options.items()
    )
    return Model("chat", model.kind, model.target, tuple(sorted(options)))


async def data_of(argument: Argument, default: Json) -> Json:
    """What an argument is, when it is there. Raises `RunError` for one that never will be."""
    match argument:
        case Known(data=data):
            return data
        case Missing():
            return default
        case Many(items=items):
            return [await data_of(item, None) for item in items]
        case Parts(names=names, values=values):
            return {n: await data_of(one, None) for n, one in zip(names, values, strict=True)}
        case Later(node=node, fields=fields):
            node.graph.want(node, None, can_wait=False)
            coming = asyncio.wrap_future(node.cell.outcome)
            outcome = as_failure(await asyncio.shield(coming))
            if isinstance(outcome, Failure):
                raise RunError(outcome)
            for name in fields:
                outcome = outcome[name]
            return outcome


def built(callee: Callee, given: list[Json]) -> Any:
    """The outputs of a turn as a Python value."""
    function = function_of(callee)
    data = (
        given[0] if function.outputs == ("",) else dict(zip(function.outputs, given, strict=True))
    )
    return callee.library.types.build(function.result_type(), data)

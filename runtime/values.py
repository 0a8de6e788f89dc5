"""Values at the edge: what a caller gives becomes plain data of the declared type.

A record may be a dict, a dataclass or a pydantic model, a choice a text or a Python `Enum` member;
nothing else is converted, and a mistake is named with its place: `docs[2].text`.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from parrotc.ir.schema import problem, with_defaults
from parrotc.ir.types import Json, Type
from parrotc.runtime.errors import Failed, RunError
from parrotc.runtime.plan import Flow


def inputs(flow: Flow, types: Sequence[Type], args: Mapping[str, Any]) -> dict[str, Json]:
    """The flow's parameters as data, with defaults. Raises `RunError` E0607."""
    try:
        _check_names(flow, args)
        return {
            param.name: as_input(param.name, types[param.type], args[param.name])
            if param.name in args
            else param.default
            for param in flow.params
        }
    except Failed as failed:
        raise RunError(failed.at(None)) from None


def _check_names(flow: Flow, args: Mapping[str, Any]) -> None:
    known = [param.name for param in flow.params]
    takes = f"`{flow.name}` takes {', '.join(known) or 'no inputs'}"
    for name in args:
        if name not in known:
            raise Failed("E0607", f"`{flow.name}` has no input `{name}`", notes=(takes,))
    for param in flow.params:
        if param.name not in args and not param.has_default:
            raise Failed("E0607", f"the input `{param.name}` is missing", notes=(takes,))


def as_input(name: str, type_: Type, given: Any) -> Json:
    """What is given for an input as data of its type. Raises `Failed` E0607."""
    value = with_defaults(type_, to_data(given))
    found = problem(type_, value)
    if found is None:
        return value
    message = f"{name}{found}" if found[0] in ".[" else f"{name}: {found}"
    raise Failed("E0607", message, notes=(f"the input `{name}` is a `{type_}`",))


def to_data(value: Any) -> Json:
    """A Python value as plain data; what has no plain form is left for the check to name."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, list | tuple):
        return [to_data(item) for item in value]
    if isinstance(value, Mapping):
        return {name: to_data(item) for name, item in value.items()}
    names: Sequence[str] = ()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [spec.name for spec in dataclasses.fields(value)]
    elif hasattr(type(value), "model_fields"):  # pydantic, without importing it
        names = list(type(value).model_fields)
    return {name: to_data(getattr(value, name)) for name in names} if names else value

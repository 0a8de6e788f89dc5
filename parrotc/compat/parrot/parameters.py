"""The parameters of a function, and how a signature says them.

def joke(topic: P.Input, style: str, text: P.Output(P.SamplingConfig(max_gen_length=64))): …
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from parrotc.compat.parrot.sampling import DispatchAnnotation, SamplingConfig

_GREEDY = SamplingConfig()


class ParamType(Enum):
    INPUT_LOC = 0  # a semantic variable, or a text
    OUTPUT_LOC = 1
    INPUT_PYOBJ = 2  # a Python value, put into the text by `str`


class Input:
    """Annotates an input."""


class Output:
    """Annotates an output, as it is or as `P.Output(P.SamplingConfig(…))`."""

    def __init__(
        self,
        sampling_config: SamplingConfig = _GREEDY,
        dispatch_annotation: DispatchAnnotation | None = None,
    ) -> None:
        self.sampling_config = sampling_config
        self.dispatch_annotation = dispatch_annotation


@dataclass(frozen=True)
class Parameter:
    """`annotation` is what a plain Python parameter is annotated with, if it is."""

    name: str
    typ: ParamType
    sampling_config: SamplingConfig | None = None
    dispatch_annotation: DispatchAnnotation | None = None
    annotation: Any = None

    @property
    def is_output(self) -> bool:
        return self.typ is ParamType.OUTPUT_LOC

    @property
    def config(self) -> SamplingConfig:
        return self.sampling_config or _GREEDY


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters that a signature declares. Raises `TypeError` for `*args` and the like."""
    found: list[Parameter] = []
    for param in inspect.signature(function, eval_str=True).parameters.values():
        if param.kind in (param.VAR_POSITIONAL, param.VAR_KEYWORD):
            raise TypeError(
                f"`{function.__name__}` takes `*{param.name}`; the parameters of a function of a"
                " program are a fixed list"
            )
        found.append(_parameter(param.name, param.annotation))
    return found


def _parameter(name: str, annotation: Any) -> Parameter:
    if annotation is Input or isinstance(annotation, Input):
        return Parameter(name, ParamType.INPUT_LOC)
    if annotation is Output:
        return Parameter(name, ParamType.OUTPUT_LOC, _GREEDY)
    if isinstance(annotation, Output):
        config, dispatch = annotation.sampling_config, annotation.dispatch_annotation
        return Parameter(name, ParamType.OUTPUT_LOC, config, dispatch)
    known = None if annotation is inspect.Parameter.empty else annotation
    return Parameter(name, ParamType.INPUT_PYOBJ, annotation=known)

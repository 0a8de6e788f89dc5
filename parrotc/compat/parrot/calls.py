"""One call of a function: what its parameters are bound to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parrotc.check.report import did_you_mean
from parrotc.compat.parrot.parameters import Parameter
from parrotc.compat.parrot.variables import SemanticVariable
from parrotc.eager.place import Place

if TYPE_CHECKING:
    from parrotc.compat.parrot.functions import BasicFunction


@dataclass(frozen=True, eq=False)
class Call:
    """`outputs` has a variable for each output; those of `made` are new."""

    function: "BasicFunction"
    inputs: Mapping[str, Any]
    outputs: Mapping[str, SemanticVariable]
    made: Sequence[SemanticVariable]
    place: Place

    def reads(self) -> list[SemanticVariable]:
        return [one for given in self.inputs.values() for one in _variables(given)]

    @property
    def result(self) -> Any:
        """What the caller gets: the one new variable, or a tuple of all."""
        return self.made[0] if len(self.made) == 1 else tuple(self.made)


def bound(
    function: "BasicFunction", args: Sequence[Any], kwargs: Mapping[str, Any], place: Place
) -> Call:
    """Bind what is given by position to inputs, and what is given by name to inputs and outputs.

    An output may be given a variable that is not set. Raises `TypeError` for what does not fit,
    and `RuntimeError` for an output that is set.
    """
    name = function.name
    inputs = [param.name for param in function.inputs]
    if len(args) > len(inputs):
        raise TypeError(f"`{name}` takes {len(inputs)} inputs, not {len(args)}")
    given = dict(zip(inputs, args, strict=False))
    for key, value in kwargs.items():
        if key in given:
            raise TypeError(f"`{name}` got two values for `{key}`")
        if key not in function.params_map:
            help_ = did_you_mean(key, function.params_map) or f"it has {_listed(function.params)}"
            raise TypeError(f"`{name}` has no parameter `{key}`; {help_}")
        given[key] = value
    for missing in inputs:
        if missing not in given:
            raise TypeError(f"`{name}` needs the input `{missing}`")
    outputs: dict[str, SemanticVariable] = {}
    made: list[SemanticVariable] = []
    for param in function.outputs:
        held = given.get(param.name)
        if held is None:
            held = SemanticVariable(param.name)
            made.append(held)
        elif not isinstance(held, SemanticVariable):
            raise TypeError(
                f"the output `{param.name}` of `{name}` is bound to a variable, not {held!r:.80}"
            )
        elif held.given is not None:
            raise RuntimeError(f"the variable `{held.name}` is set already")
        outputs[param.name] = held
    values = {param.name: function.input(param, given[param.name]) for param in function.inputs}
    return Call(function, values, outputs, made, place)


def in_order(calls: Sequence[Call]) -> list[Call]:
    """The calls, each after those whose outputs it reads; otherwise as they were made.

    Raises `RuntimeError` where a call needs its own result.
    """
    makers = {variable: call for call in calls for variable in call.outputs.values()}
    done: dict[Call, bool] = {}  # False while what it needs is looked at
    ordered: list[Call] = []
    for first in calls:
        stack = [first]
        while stack:
            call = stack[-1]
            if done.get(call):
                stack.pop()
                continue
            needs = [makers[read] for read in call.reads() if read in makers]
            waiting = [need for need in needs if not done.get(need)]
            if call in done and any(need in done for need in waiting):
                raise RuntimeError(f"the call of `{call.function.name}` needs its own result")
            if waiting:
                done[call] = False
                stack += reversed(waiting)
                continue
            done[call] = True
            ordered.append(call)
            stack.pop()
    return ordered


def _variables(given: Any) -> Iterator[SemanticVariable]:
    """The variables that a value is, or has among its items."""
    if isinstance(given, SemanticVariable):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _variables(one)


def _listed(params: Sequence[Parameter]) -> str:
    return ", ".join(f"`{param.name}`" for param in params) or "none"

"""Functions of a program: semantic ones, native ones, and those that were compiled before.

Calling one gives its outputs as semantic variables, at once.
"""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import Any

from parrotc.compat.parrot import environment
from parrotc.compat.parrot.calls import bound
from parrotc.compat.parrot.natives import native_callee, runner
from parrotc.compat.parrot.parameters import Output, Parameter, ParamType, parameters_of
from parrotc.compat.parrot.sampling import PerformanceCriteria
from parrotc.compat.parrot.templates import Written, callee_of, pieces_of
from parrotc.compat.parrot.transforms import Conversation, Formatter
from parrotc.compat.parrot.variables import SemanticVariable
from parrotc.eager.callterms import PLAIN, CallTerms
from parrotc.eager.fields import field_names
from parrotc.eager.library import Callee
from parrotc.eager.place import Place
from parrotc.eager.policies import asked
from parrotc.ir.ops import Model
from parrotc.lower.module import DEFAULT_MODEL

TIMEOUT = 60.0  # seconds, of a native function that says nothing


class BasicFunction:
    """What all functions have in common. `terms` are those of each of its calls."""

    terms = PLAIN

    def __init__(self, name: str, params: Sequence[Parameter]) -> None:
        self.name = name
        self.params = tuple(params)
        self.params_map = {param.name: param for param in params}
        self.inputs = tuple(param for param in params if not param.is_output)
        self.outputs = tuple(param for param in params if param.is_output)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs: one variable, or a tuple of several. Those that were given are left out."""
        return self._called(args, kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """The same."""
        return self._called(args, kwargs)

    def ainvoke(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """The same, to be awaited. There is nothing to wait for: the call is made at once."""
        result = self._called(args, kwargs)

        async def given() -> Any:
            return result

        return given()

    def input(self, param: Parameter, given: Any) -> Any:
        """What is given for an input as it is kept: a variable, or a text."""
        return given if isinstance(given, SemanticVariable) else str(given)

    @property
    def callee(self) -> Callee:
        """What a graph of this process captures. Raises `CompileError`."""
        raise NotImplementedError

    def _called(self, args: Any, kwargs: Any) -> Any:
        if not self.outputs:
            raise TypeError(
                f"`{self.name}` has no output; it may begin a conversation, with"
                " `invoke_statefully`"
            )
        call = bound(self, args, kwargs, Place.of_caller(2))
        environment.current().take(call)
        return call.result

    def __repr__(self) -> str:
        params = ", ".join(f"{param.name}: {param.typ.name}" for param in self.params)
        return f"<{type(self).__name__} {self.name}({params})>"


class SemanticFunction(BasicFunction):
    """A template, whose outputs a model generates."""

    def __init__(
        self,
        written: Written,
        params: Sequence[Parameter],
        *,
        conversation: Conversation | None = None,
        models: Sequence[str] = (),
        model_type: str = "token_id",
        remove_pure_fill: bool = True,
        output_criteria: PerformanceCriteria | None = None,
    ) -> None:
        """Raises `CompileError`, with the place, for a template that does not fit `params`, and
        `ValueError` for a model type that there is not."""
        super().__init__(written.name, params)
        if model_type not in ("token_id", "text"):
            raise ValueError(f"`model_type` is `token_id` or `text`, not {model_type!r}")
        self.pieces = pieces_of(written, params, conversation)
        self.models = tuple(models)
        self.model_type = model_type
        self.remove_pure_fill = remove_pure_fill
        self.criteria = None if output_criteria is None else output_criteria.goal
        self._written = written

    @property
    def model(self) -> Model:
        """The first of its models. Those of type `text` are behind an endpoint of OpenAI's kind."""
        if not self.models:
            return DEFAULT_MODEL
        kind = "openai" if self.model_type == "text" else "builtin"
        return Model("model", kind, self.models[0])

    @cached_property
    def callee(self) -> Callee:
        is_whole = not self.remove_pure_fill
        return callee_of(
            self._written, self.pieces, self.params, model=self.model, is_whole=is_whole
        )

    def invoke_statefully(
        self, context_successor: BasicFunction | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Go on from the context that was left for this function, or else from none, and leave it
        to the next stateful call of `context_successor`."""
        if any(param.config.n > 1 for param in self.outputs):
            raise TypeError(f"`{self.name}` has outputs of several draws, and a turn has one")
        call = bound(self, args, kwargs, Place.of_caller(1))
        successor = context_successor.name if context_successor else None
        environment.current().take_turn(call, successor)
        return call.result


class NativeFunction(BasicFunction):
    """A Python function, run in a thread of this process."""

    def __init__(
        self, function: Callable[..., Any], params: Sequence[Parameter], timeout: float
    ) -> None:
        super().__init__(function.__name__, params)
        self.timeout = timeout
        self.run = runner(function, self.params)
        self._function = function

    @cached_property
    def callee(self) -> Callee:
        return native_callee(self._function, self.run, self.params, self.timeout)

    def input(self, param: Parameter, given: Any) -> Any:
        is_text = param.typ is ParamType.INPUT_LOC and not isinstance(given, SemanticVariable)
        return str(given) if is_text else given


class CompiledFunction(BasicFunction):
    """A `@pfunc`, a `@flow` or one of a `.pfn` file, called in Parrot's way. Its values are typed:
    inputs are not made texts, and `get` gives what the function is declared to give."""

    def __init__(self, callee: Callee, terms: CallTerms = PLAIN) -> None:
        inputs = [Parameter(p.value.name, ParamType.INPUT_PYOBJ) for p in callee.flow.params]
        names = field_names(callee.flow.result.type) or (_unused(callee),)
        outputs = [Parameter(name, ParamType.OUTPUT_LOC) for name in names]
        super().__init__(callee.name, [*inputs, *outputs])
        self._callee = callee
        self.terms = terms

    @property
    def callee(self) -> Callee:
        return self._callee

    def input(self, param: Parameter, given: Any) -> Any:
        return given

    def with_(self, **policies: Any) -> "CompiledFunction":
        """The function with policies, as in `docs/python.md`. Raises `TypeError`."""
        return CompiledFunction(*asked(self._callee, policies))


def semantic_function(
    formatter: Formatter | None = None,
    conversation_template: Conversation | None = None,
    models: Sequence[str] = (),
    model_type: str = "token_id",
    remove_pure_fill: bool = True,
    cache_prefix: bool = True,
    output_criteria: PerformanceCriteria | None = None,
    try_register: bool = True,
) -> Callable[[Callable[..., Any]], SemanticFunction]:
    """Make a semantic function of a signature and its docstring.

    The docstring is dedented, and otherwise taken as it is written, unless a `formatter` is given.
    `cache_prefix` and `try_register` change nothing: what prompts have in common is always filled
    once, and functions need no registration.
    """

    if inspect.isfunction(formatter):
        raise TypeError("write `@P.semantic_function()`, with brackets")

    def make(function: Callable[..., Any]) -> SemanticFunction:
        return SemanticFunction(
            Written.of(function, formatter),
            parameters_of(function),
            conversation=conversation_template,
            models=models,
            model_type=model_type,
            remove_pure_fill=remove_pure_fill,
            output_criteria=output_criteria,
        )

    return make


def native_function(
    timeout: float = TIMEOUT, try_register: bool = True
) -> Callable[[Callable[..., Any]], NativeFunction]:
    """Make a native function of a Python function, which may take `timeout` seconds.

    It gives its outputs by `set`, or returns them: `-> P.Output` declares one that has no name.
    """

    if inspect.isfunction(timeout):
        raise TypeError("write `@P.native_function()`, with brackets")

    def make(function: Callable[..., Any]) -> NativeFunction:
        return NativeFunction(function, [*parameters_of(function), *_returned(function)], timeout)

    return make


def _returned(function: Callable[..., Any]) -> list[Parameter]:
    """The outputs that a return annotation declares: `P.Output`, or a tuple of these."""

    said = inspect.signature(function, eval_str=True).return_annotation
    said = said if isinstance(said, tuple) else (said,)
    outputs = [one for one in said if one is Output or isinstance(one, Output)]
    return [Parameter(f"ret_{n}", ParamType.OUTPUT_LOC) for n in range(len(outputs))]


def _unused(callee: Callee) -> str:
    """A name for the one output of a function that is called by its own."""
    taken = {param.value.name for param in callee.flow.params}
    return callee.name if callee.name not in taken else f"{callee.name}_output"

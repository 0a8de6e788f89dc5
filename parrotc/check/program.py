"""What checking gives: the trees, and tables that say what each name means and each value is.

Nodes compare by identity, so the tables are plain dicts with nodes as keys.
"""

from dataclasses import dataclass, field

from parrotc.ir.ops import Effect, EnvRef
from parrotc.ir.source import Source, Span
from parrotc.ir.types import Enum, Json, Record, Type
from parrotc.syntax import tree


@dataclass(frozen=True, eq=False, kw_only=True)
class Symbol:
    """Something a name can mean. `name` is unique in the program (`std.text.chunk` for imports)."""

    name: str
    span: Span | None


@dataclass(frozen=True, eq=False, kw_only=True)
class ConstSymbol(Symbol):
    type: Type
    value: Json


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelSymbol(Symbol):
    kind: str  # builtin, openai, azure
    target: str
    options: tuple[tuple[str, Json | EnvRef], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class TypeSymbol(Symbol):
    type: Enum | Record


@dataclass(frozen=True, eq=False, kw_only=True)
class ParamInfo:
    name: str
    type: Type
    default: Json = None
    has_default: bool = False
    span: Span | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Policy:
    """What is asked of calls: from decorators (on a declaration) or `with (…)` (on one call).

    None: not said here. The nearest wins: `with`, then the semantic function, then the flow.
    """

    model: ModelSymbol | None = None
    criteria: str | None = None  # latency, throughput
    ttft: float | None = None  # seconds
    tpot: float | None = None
    deadline: float | None = None
    retry: int | None = None
    cache_ttl: float | None = None
    count: tree.Expr | None = None  # `n`: only in `with`
    tolerant: bool = False  # on_error=None: only in `with`
    handover: str | None = None  # text, tokens: only in `with`


@dataclass(frozen=True, eq=False, kw_only=True)
class GenInfo:
    """A `{{gen}}` after checking: sampling in plain values, its type, the output it feeds.

    `output` is the name of a declared output (`""` for the single unnamed one), None for a local.
    """

    name: str
    type: Type
    output: str | None
    sampling: dict[str, Json]  # fields of ir.ops.Generate: max_tokens, temperature, stop, …


@dataclass(frozen=True, eq=False, kw_only=True)
class PfuncSymbol(Symbol):
    decl: tree.PfuncDecl
    params: tuple[ParamInfo, ...]
    outputs: tuple[tuple[str, Type], ...]
    result: Type  # an unnamed Record for several outputs
    policy: Policy


@dataclass(frozen=True, eq=False, kw_only=True)
class ExternSymbol(Symbol):
    """A native function. One with type parameters (`list[T]`) is in `Program.names` only as its
    instances: a symbol with a name of its own (`std.list.unique.str`) for each `type_args`."""

    target: str
    params: tuple[ParamInfo, ...]
    result: Type
    effect: Effect
    timeout: float
    type_params: tuple[str, ...] = ()
    type_args: tuple[Type, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowSymbol(Symbol):
    decl: tree.FlowDecl
    params: tuple[ParamInfo, ...]
    result: Type
    policy: Policy


@dataclass(frozen=True, eq=False, kw_only=True)
class BuiltinSymbol(Symbol):
    """`len`, `range`, `zip`, …: a function of `ir/scalar.py` with the same name."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalSymbol(Symbol):
    """A parameter, an assigned name, a loop variable, or a generated value used later."""

    type: Type


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A checked program: the root file and everything it imports.

    `exports` are the flows and semantic functions declared in the root file, by plain name. What
    the tables hold, for programs without errors:

    - `types`: the type of every expression, literals already of the type their place wants (an
      empty list that nothing says more about is `list<none>`). The type of a call before its
      policies is at `With.call`, after them at the `With`. A name that a condition has shown not
      to be `None` has the narrower type where it is used, while its value may still be declared
      wider. A `Filter` has the type of its result.
    - `names`: what is called, at the `function` of every call of a declared or built-in function;
      a method call has none. For other names `LocalSymbol` (a new one for each binding, and where
      branches or iterations meet), `ConstSymbol` (members of enums too), `TypeSymbol` (an enum as
      the list of its members). A `Filter` has a `BuiltinSymbol` or an `ExternSymbol`, the `model=`
      of `truncate` a `ModelSymbol`, the text of `.prefix("f")` means `f`. A generic native is
      always one of its instances.
    - `gens`: every `Gen` written in a prompt. `implicit_gens`: the one that a prompt with messages
      and no `gen` ends with. On each path every output is generated once, never in a loop.
    - `policies`: what every `with (…)` says itself; nothing is inherited yet.

    Flows end in `return`, an `if` with `else` or a `match`, in every arm; `match` is exhaustive, so
    its last case takes what is left. `break` stands directly in the body of a `for`, without a
    condition only as its last statement. Flows do not recurse, imports make no circle.
    """

    root: tree.Tree
    trees: tuple[tree.Tree, ...]
    exports: dict[str, FlowSymbol | PfuncSymbol]
    natives: tuple[ExternSymbol, ...] = ()  # of the root file, without type parameters
    models: tuple[ModelSymbol, ...] = ()  # every one that is declared, in any file
    types: dict[tree.Node, Type] = field(default_factory=dict)  # of every expression
    names: dict[tree.Node, Symbol] = field(default_factory=dict)  # Name, Attribute → its meaning
    gens: dict[tree.Gen, GenInfo] = field(default_factory=dict)
    implicit_gens: dict[tree.PfuncDecl, GenInfo] = field(default_factory=dict)
    policies: dict[tree.With, Policy] = field(default_factory=dict)
    embedded: tuple[tuple[str, str], ...] = ()  # embedded files: path as written, sha256

    def sources(self) -> tuple[Source, ...]:
        return tuple(t.source for t in self.trees)

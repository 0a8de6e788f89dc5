"""Type parameters of native functions: `extern def first(items: list[T]) -> T`.

A name of one capital letter in the signature of an `extern`, where no type is called so, stands
for any type. Each use finds out from its arguments which; the program then holds one
`ExternSymbol` for each list of types (`std.list.first.str`), so nothing after the checker knows
of type parameters. While a signature is generic, a parameter is a record no author can name.
"""

from collections.abc import Sequence
from dataclasses import replace

from parrotc.check.program import ExternSymbol
from parrotc.check.rules import EMPTY_LIST, join
from parrotc.check.session import Session
from parrotc.ir.types import NONE, ListOf, Optional, Record, Type

Bindings = dict[str, Type]


def variable(name: str) -> Type | None:
    """The type that a one-letter name stands for while a signature is generic."""
    return Record(f"<{name}>", ()) if len(name) == 1 and name.isupper() else None


def variables(type_: Type) -> list[str]:
    """The parameters that a type mentions, in order."""
    match type_:
        case Record(name=name) if name.startswith("<") and name != "<error>":
            return [name[1:-1]]
        case ListOf() | Optional():
            return variables(type_.item)
    return []


def infer(param: Type, given: Type, bindings: Bindings) -> None:
    """Note in `bindings` what a parameter must be for `given` to fit, as far as that is clear."""
    match param, given:
        case Record(), _ if variables(param):
            name = variables(param)[0]
            both = join(bindings[name], given) if name in bindings else given
            bindings[name] = bindings[name] if both is None else both
        case Optional(), Optional():
            infer(param.item, given.item, bindings)
        case Optional(), _ if given != NONE:
            infer(param.item, given, bindings)
        case ListOf(), ListOf() if given != EMPTY_LIST:
            infer(param.item, given.item, bindings)


def substitute(type_: Type, bindings: Bindings) -> Type:
    """The type with every parameter replaced; one that nothing binds has no values."""
    match type_:
        case Record() if variables(type_):
            return bindings.get(variables(type_)[0], NONE)
        case ListOf(item=item, max_len=length):
            return ListOf(substitute(item, bindings), length)
        case Optional(item=item):
            return Optional(substitute(item, bindings))
    return type_


def instance(session: Session, symbol: ExternSymbol, bindings: Bindings) -> ExternSymbol:
    """The native function for these types; the same types give the same symbol."""
    types = tuple(bindings.get(name, NONE) for name in symbol.type_params)
    known = session.instances.setdefault(symbol.name, {})
    if types not in known:
        taken = {other.name for other in known.values()}
        known[types] = replace(
            symbol,
            name=_fresh(f"{symbol.name}.{'_'.join(map(_word, types))}", taken),
            params=tuple(replace(p, type=substitute(p.type, bindings)) for p in symbol.params),
            result=substitute(symbol.result, bindings),
            type_args=types,
        )
    return known[types]


def _fresh(name: str, taken: Sequence[str] | set[str]) -> str:
    number = 2
    fresh = name
    while fresh in taken:
        fresh, number = f"{name}_{number}", number + 1
    return fresh


def _word(type_: Type) -> str:
    """A type as part of a name: letters, digits and `_`."""
    match type_:
        case ListOf(item=item):
            return f"list_{_word(item)}"
        case Optional(item=item):
            return f"optional_{_word(item)}"
        case Record(name=""):
            return "record"
        case Record(name=name):
            return name.replace(".", "_")
    text = str(type_).split("(")[0].split("<")[0]
    return "".join(c if c.isalnum() else "_" for c in text)

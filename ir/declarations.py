"""What a module declares, by name: the part of `ir/verify.py` that needs no walk over ops."""

from collections.abc import Container
from dataclasses import dataclass, field

from parrotc.ir.ops import Function, Module, NativeDecl, Prefix
from parrotc.ir.types import Enum, ListOf, Optional, Record, Scored, Type


class InvalidIR(Exception):
    """A module that no correct lowering or pass gives: our bug, not the user's."""


@dataclass
class Declarations:
    """Tables by name, filled by `check`."""

    module: Module
    models: set[str] = field(default_factory=set)
    natives: dict[str, NativeDecl] = field(default_factory=dict)
    prefixes: dict[str, Prefix] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    types: dict[str, Enum | Record] = field(default_factory=dict)
    good_types: set[int] = field(default_factory=set)  # ids of types that were found declared

    def check(self) -> None:
        for declared in self.module.types:
            self._unique("type", declared.name, self.types)
            for part in declared.fields if isinstance(declared, Record) else ():
                self.known_type(part.type, f"in type `{declared.name}`")
            self.types[declared.name] = declared
        for model in self.module.models:
            self._unique("model", model.name, self.models)
            self.models.add(model.name)
        for native in self.module.natives:
            self._unique("native", native.name, self.natives)
            self.natives[native.name] = native
        for prefix in self.module.prefixes:
            self._prefix(prefix)
        for function in self.module.functions:
            self._unique("function", function.name, self.functions)
            self.functions[function.name] = function
        flows: set[str] = set()
        for flow in self.module.flows:
            self._unique("flow", flow.name, flows)
            flows.add(flow.name)

    def _unique(self, what: str, name: str, seen: Container[str]) -> None:
        if name in seen:
            raise InvalidIR(f"two {what}s are called `{name}`")

    def _prefix(self, prefix: Prefix) -> None:
        self._unique("prefix", prefix.name, self.prefixes)
        if prefix.model not in self.models:
            raise InvalidIR(f"prefix `{prefix.name}` names no model: `{prefix.model}`")
        if prefix.parent is not None:
            parent = self.prefixes.get(prefix.parent)
            if parent is None or parent.model != prefix.model:
                raise InvalidIR(
                    f"prefix `{prefix.name}` comes after `{prefix.parent}`, which is no earlier "
                    "prefix of its model"
                )
        self.prefixes[prefix.name] = prefix

    def known_type(self, type_: Type, where: str) -> None:
        """Every enum and record with a name is one that the module declares."""
        if id(type_) in self.good_types:
            return
        match type_:
            case Enum(name=name) if self.types.get(name) != type_:
                raise InvalidIR(f"{where}: the module declares no such enum: `{name}`")
            case Record(name=name) if name and self.types.get(name) != type_:
                raise InvalidIR(f"{where}: the module declares no such record: `{name}`")
            case Record(name="", fields=fields):
                for part in fields:
                    self.known_type(part.type, where)
            case ListOf(item=item) | Optional(item=item) | Scored(item=item):
                self.known_type(item, where)
        self.good_types.add(id(type_))

"""What a graph is made of: inputs that somebody sets, and calls that were captured.

A node outlives its graph as long as a variable or another node needs it, and holds what it needs
only until it has its value.
"""

import weakref
from typing import TYPE_CHECKING, Any

from parrotc.eager.callterms import CallTerms
from parrotc.eager.cell import Cell, is_failed
from parrotc.eager.fields import field_names
from parrotc.eager.place import Place
from parrotc.ir.types import Json, Type
from parrotc.notebook import picture_of, prompt_of
from parrotc.runtime.errors import Failure
from parrotc.runtime.results import PythonTypes

if TYPE_CHECKING:
    from parrotc.eager.arguments import Argument
    from parrotc.eager.graph import Graph
    from parrotc.eager.library import Callee
    from parrotc.eager.service import Running
    from parrotc.eager.variable import Var


class Node:
    """`raw` is the failure as the run that ended in it knows it. One that `is_limited` ends by
    itself, whatever it is waiting for."""

    is_limited = False

    def __init__(
        self, graph: "Graph", name: str, type_: Type, types: PythonTypes, place: Place | None
    ) -> None:
        self.graph = graph
        self.name = name
        self.type = type_
        self.types = types
        self.place = place
        self.cell = Cell()
        self.raw: Any = None
        self._var: weakref.ref[Var[Any]] | None = None

    def hold(self, var: "Var[Any]") -> None:
        self._var = weakref.ref(var)

    @property
    def is_held(self) -> bool:
        """Whether somebody still has a variable of it."""
        return self._var is not None and self._var() is not None

    def needs(self) -> "tuple[Node, ...]":
        """The nodes whose values it is waiting for."""
        return ()

    def cell_of(self, fields: tuple[str, ...]) -> tuple[Cell, tuple[str, ...]]:
        """What will hold a part of the value, and the way to the part from there."""
        return self.cell, fields

    def rows(self) -> dict[str, str]:
        """What else a notebook shows of it, as HTML."""
        return {}


class InputNode(Node):
    """A variable that is set from outside; `sources` are what whoever sets it is waiting for, if
    it is known that somebody does."""

    sources: "tuple[Var[Any], ...] | None" = None

    def needs(self) -> tuple[Node, ...]:
        return tuple(var._node for var in self.sources or ())


class CallNode(Node):
    """A call. `running` is its segment, in which it is the `number`th that is wanted. Of a call
    with several outputs each is one of the `parts`, and is there before the last one is made."""

    def __init__(
        self,
        graph: "Graph",
        callee: "Callee",
        args: "tuple[Argument, ...]",
        place: Place | None,
        terms: CallTerms,
    ) -> None:
        flow = callee.flow
        super().__init__(graph, callee.name, flow.result.type, callee.library.types, place)
        self.callee = callee
        self.args = args
        self.terms = terms
        self.is_limited = terms.timeout is not None
        self.parts = {name: Cell() for name in field_names(self.type) or ()}
        self.criteria: str | None = None
        self.running: Running | None = None
        self.number = 0
        self.values: dict[str, Json] = {}

    def needs(self) -> tuple[Node, ...]:
        return tuple(node for arg in self.args for node in arg.nodes())

    def cell_of(self, fields: tuple[str, ...]) -> tuple[Cell, tuple[str, ...]]:
        if fields and fields[0] in self.parts:
            return self.parts[fields[0]], fields[1:]
        return self.cell, fields

    def begin(self, running: "Running", number: int) -> None:
        self.running, self.number = running, number
        for cell in (self.cell, *self.parts.values()):
            cell.is_running = True

    def rows(self) -> dict[str, str]:
        module = self.callee.library.module
        found = (f for f in module.functions if self.callee.is_alone and f.name == self.name)
        function = next(found, None)
        if function is not None:
            return {"prompt": prompt_of(module, function, self.values or self._values())}
        is_flow = not self.callee.is_native
        return {"graph": picture_of(lambda: module, self.name)} if is_flow else {}

    def _values(self) -> dict[str, Json]:
        """The inputs that were given, by name."""
        from parrotc.eager.arguments import Known

        names = (param.value.name for param in self.callee.flow.params)
        pairs = zip(names, self.args, strict=False)
        return {name: arg.data for name, arg in pairs if isinstance(arg, Known)}

    def tell(self, outcome: Any) -> None:
        """The run's outcome for this call; only the first one counts."""
        if self.cell.outcome.done():
            return
        if isinstance(outcome, Failure):
            self.raw = outcome
            outcome = self._explained(outcome)
        if self.cell.set(outcome):
            self.values, self.args = self._values(), ()  # what it waited for may go
            for name, cell in self.parts.items():
                cell.set(outcome if is_failed(outcome) else outcome[name])

    def tell_part(self, name: str, outcome: Any) -> None:
        """One of several outputs. Why there is none is told of all."""
        if not is_failed(outcome):
            self.parts[name].set(outcome)

    def _explained(self, failure: Failure) -> Failure:
        """The failure at the call in which it began: here, or in a call that this one reads."""
        for node in self.needs():
            if node.cell.outcome.done():
                known = node.cell.outcome.result()
                if failure is node.raw or failure is known:
                    return known  # type: ignore[no-any-return]
        return self.place.explained(failure) if self.place else failure

"""What a graph is made of: inputs that somebody sets, and calls that were captured.

A node outlives its graph as long as a variable or another node needs it, and holds what it needs
only until it has its value.
"""

import weakref
from typing import TYPE_CHECKING, Any

from parrotc.eager.cell import Cell
from parrotc.eager.place import Place
from parrotc.ir.types import Json, Type
from parrotc.notebook import prompt_of
from parrotc.runtime.errors import Failure
from parrotc.runtime.results import PythonTypes

if TYPE_CHECKING:
    from parrotc.eager.arguments import Argument
    from parrotc.eager.graph import Graph
    from parrotc.eager.library import Callee
    from parrotc.eager.service import Running
    from parrotc.eager.variable import Var


class Node:
    """`raw` is the failure as the run that ended in it knows it."""

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
    """A call. `running` is its segment, in which it is the `number`th that is wanted."""

    def __init__(
        self,
        graph: "Graph",
        callee: "Callee",
        args: "tuple[Argument, ...]",
        place: Place | None,
    ) -> None:
        flow = callee.flow
        super().__init__(graph, callee.name, flow.result.type, callee.library.types, place)
        self.callee = callee
        self.args = args
        self.criteria: str | None = None
        self.running: Running | None = None
        self.number = 0
        self.values: dict[str, Json] = {}

    def needs(self) -> tuple[Node, ...]:
        return tuple(node for arg in self.args for node in arg.nodes())

    def rows(self) -> dict[str, str]:
        module = self.callee.library.module
        found = (f for f in module.functions if self.callee.is_alone and f.name == self.name)
        function = next(found, None)
        values = self.values or self._values()
        return {"prompt": prompt_of(module, function, values) if function else ""}

    def _values(self) -> dict[str, Json]:
        """The inputs that were given, by name."""
        from parrotc.eager.arguments import Known

        names = (param.value.name for param in self.callee.flow.params)
        pairs = zip(names, self.args, strict=False)
        return {name: arg.data for name, arg in pairs if isinstance(arg, Known)}

    def tell(self, outcome: Any) -> None:
        """The run's outcome for this call; only the first one counts."""
        if isinstance(outcome, Failure):
            self.raw = outcome
            outcome = self._explained(outcome)
        if self.cell.set(outcome):
            self.values, self.args = self._values(), ()  # what it waited for may go

    def _explained(self, failure: Failure) -> Failure:
        """The failure at the call in which it began: here, or in a call that this one reads."""
        for node in self.needs():
            if node.cell.outcome.done():
                known = node.cell.outcome.result()
                if failure is node.raw or failure is known:
                    return known  # type: ignore[no-any-return]
        return self.place.explained(failure) if self.place else failure

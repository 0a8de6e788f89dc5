"""What nodes wait for: the walk along what they need, and inputs that nobody will set."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from parrotc.eager.node import CallNode, InputNode, Node
from parrotc.runtime.errors import Failed, Failure

if TYPE_CHECKING:
    from parrotc.eager.graph import Graph


def waited(node: Node) -> Iterator[Node]:
    """The nodes without a value that one is waiting for, and it itself."""
    return _walk(node, lambda one: one.cell.outcome.done())


def unset(node: Node) -> InputNode | None:
    """An input without a value that a node is waiting for, and nobody is to set.

    A call with a timeout ends without it too, and with it what reads that.
    """
    found = _walk(node, lambda one: one.cell.outcome.done() or one.is_limited)
    inputs = (one for one in found if isinstance(one, InputNode))
    return next((one for one in inputs if one.sources is None), None)


def _walk(node: Node, ends: Callable[[Node], bool]) -> Iterator[Node]:
    seen: set[Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node in seen or ends(node):
            continue
        yield node
        seen.add(node)
        waiting += node.needs()


def never_set(node: InputNode) -> Failure:
    return Failed(
        "E0621",
        f"the variable `{node.name}` has not been set",
        help="set it before the result is asked for, or wait for it with `get(timeout=…)`",
    ).at(node.place.span() if node.place else None)


def graphs_of(calls: Iterable[CallNode]) -> "set[Graph]":
    """The graphs that still hold back what these calls read."""
    return {
        node.graph
        for call in calls
        for node in call.needs()
        if isinstance(node, CallNode) and node.running is None and not node.cell.outcome.done()
    }

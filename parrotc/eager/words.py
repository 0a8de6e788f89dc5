"""What a program says about eager calls, besides making them."""

from typing import Any

from parrotc.eager.graph import current
from parrotc.eager.place import Place
from parrotc.eager.variable import Var


def variable(name: str = "input", content: Any = None, *, type: Any = None) -> Var[Any]:
    """An input of eager calls, set now to `content` or later by `set`.

    `type` is what a parameter would be annotated with; else it is the content's, or `str`.
    """
    return current().variable(name, content, type=type, place=Place.of_caller(1))

"""The type of an input, from what a parameter would be annotated with, or from its content."""

from typing import Any, get_args, get_origin

from parrotc.ir.types import BOOL, FLOAT, INT, STR, ListOf, Type

_PLAIN: dict[Any, Type] = {str: STR, int: INT, float: FLOAT, bool: BOOL}


def type_of(annotation: Any, content: Any) -> Type:
    """Raises `TypeError` for what is neither plain nor a list of such."""
    if annotation is None:
        return STR if content is None else _of_content(content)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if get_origin(annotation) is list:
        return ListOf(type_of(get_args(annotation)[0], None))
    raise _unknown(annotation)


def _of_content(content: Any) -> Type:
    if type(content) in _PLAIN:
        return _PLAIN[type(content)]
    if isinstance(content, list | tuple):
        items = {_of_content(item) for item in content}
        if len(items) == 1:
            return ListOf(items.pop())
        if not items:
            return ListOf(STR)
    raise _unknown(type(content))


def _unknown(what: Any) -> TypeError:
    return TypeError(f"a variable holds str, int, float, bool or a list of these, not {what!r}")

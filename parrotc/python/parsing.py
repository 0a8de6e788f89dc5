"""Text as a tree of Python's `ast`, in the one way in which this front end reads it."""

import ast
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what `parsed` may raise


def parsed(text: str) -> ast.Module:
    """The statements of a file. Raises one of `UNREADABLE` for what is not Python."""
    with _silence():
        return ast.parse(text)


def parsed_expression(text: str) -> ast.expr:
    """The expression that a text is. Raises one of `UNREADABLE` for any other text."""
    with _silence():
        return ast.parse(text.strip(), mode="eval").body


@contextmanager
def _silence() -> Iterator[None]:
    """No warnings of `\\{{`, which is no escape of Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def called(decorator: ast.expr) -> ast.expr:
    """What a decorator names, with or without arguments: `flow` of `@flow(retry=2)`."""
    return decorator.func if isinstance(decorator, ast.Call) else decorator

"""What a program in Python is written with, besides its decorators.

These names give the text of a program its Python meaning, so that it loads, and editors and type
checkers understand it. What they say is read from the source (`translate.py`); nothing here runs
when a flow does.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn


class Role:
    """`user("…")`, or `with user:` and a text a line: a message of a `@pfunc`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the `{self._name}` message of a @pfunc>"

    def __call__(self, *texts: str) -> NoReturn:
        raise self._misused()

    def __enter__(self) -> None:
        raise self._misused()

    def __exit__(self, *_: object) -> None:
        """Never reached: a message is read, not entered."""

    def _misused(self) -> TypeError:
        return TypeError(f"`{self._name}` says a message in the body of a @pfunc, and only there")


system, user, assistant, tool = map(Role, ("system", "user", "assistant", "tool"))


@dataclass(frozen=True)
class Model:
    """A model that a program names. `kind` is how it is reached, `target` what it is called."""

    kind: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)


class Models:
    """`model.openai("…")`, one method for each kind of model."""

    def __getattr__(self, kind: str) -> Callable[..., Model]:
        if kind.startswith("_"):
            raise AttributeError(kind)

        def declare(target: str, **options: Any) -> Model:
            return Model(kind, target, options)

        return declare


model = Models()


@dataclass(frozen=True)
class EnvironmentVariable:
    """The name of a variable, read when a plan is loaded: a plan holds no secret."""

    name: str


def env(name: str) -> EnvironmentVariable:
    """A variable of the environment, in the options of a model."""
    return EnvironmentVariable(name)


def embed(name: str) -> str:
    """The text of a file beside the program. Compiled in: the file is not read at run time."""
    caller = inspect.currentframe()
    assert caller is not None and caller.f_back is not None
    path = Path(caller.f_back.f_code.co_filename).parent / name
    return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")

"""From what a file says to the fields of a config: whoever has a config file reads it with this.

    fields = read_fields(file, (), EngineConfig, Words(names={"dtype": "precision"}))
    config = fields.validated()

A file may use other names than ours, and gather fields in groups that say nothing themselves. What
is wrong is collected with its place, so that it is told all at once.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.configfile import CODE, At, ConfigError, ConfigFile

C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a file may say besides the names of the fields.

    `groups` are objects whose settings may as well stand alone; `names` and `values` (of a field)
    stand for ours; `needless` settings are passed over, with the reason told. `secrets` are never
    in a file: each has a setting that names the environment variable which holds it.
    """

    groups: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    needless: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """A setting of a file, and the place where it is written."""

    path: At
    value: Any


@dataclass(slots=True)
class Fields(Generic[C]):
    """What one object of a file gives, by the names of the fields of `kind`."""

    file: ConfigFile
    kind: type[C]
    given: dict[str, Given] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # settings that change nothing, and why
    wrong: list[Diagnostic] = field(default_factory=list)

    def span_error(self, name: str, message: str) -> None:
        """Note that the value of a field cannot be used."""
        self.wrong.append(Diagnostic(CODE, message, self.file.span(self.given[name].path)))

    def validated(self) -> C | None:
        """The config; None where something is wrong that `require` will tell."""
        try:
            return self.kind(**{name: one.value for name, one in self.given.items()})
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False):
                name, *inner = found["loc"]
                path = (*self.given[str(name)].path, *inner)
                what = found["msg"].removeprefix("Input ")
                message = f"`{'.'.join(map(str, path))}` {what[:1].lower()}{what[1:]}"
                self.wrong.append(Diagnostic(CODE, message, self.file.span(path)))
        return None

    def require(self) -> None:
        """Raises `ConfigError` with all that is wrong, in the order of the text."""
        if self.wrong:
            raise ConfigError(
                *sorted(self.wrong, key=lambda one: one.span.start if one.span else 0)
            )


def read_fields(file: ConfigFile, at: At, kind: type[C], words: Words) -> Fields[C]:
    """What the object at `at` gives; unknown and doubled names are in `wrong`."""
    fields = Fields(file, kind)
    for path, value in _flat(at, file.value(at), words.groups):
        word = str(path[-1])
        name = words.names.get(word, word)
        if word in words.needless:
            fields.notes.append(f"`{word}` changes nothing: {words.needless[word]}")
        elif word in words.secrets:
            fields.wrong.append(_secret(file, path, words.secrets[word]))
        elif name not in kind.model_fields:
            fields.wrong.append(_unknown(file, path, at, [*kind.model_fields, *words.names], words))
        elif name in fields.given:
            before = _shown(fields.given[name].path, at)
            message = f"`{name}` is given twice, as `{before}` too"
            fields.wrong.append(Diagnostic(CODE, message, file.span(path)))
        else:
            said = words.values.get((name, value), value) if isinstance(value, str) else value
            fields.given[name] = Given(path, said)
    return fields


def _flat(at: At, data: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[tuple[At, Any]]:
    for name, value in data.items():
        if name in groups and isinstance(value, dict):
            yield from (((*at, name, inner), held) for inner, held in value.items())
        else:
            yield (*at, name), value


def _unknown(file: ConfigFile, path: At, at: At, names: list[str], words: Words) -> Diagnostic:
    known = [*names, *words.needless, *words.groups]
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    help = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
    message = f"there is no setting `{_shown(path, at)}`"
    return Diagnostic(CODE, message, file.span(path), label="set here", help=help)


def _secret(file: ConfigFile, path: At, instead: str) -> Diagnostic:
    message = f"`{path[-1]}` is a secret, and a config holds none"
    help = f"name the environment variable that holds it: `{instead}`"
    return Diagnostic(CODE, message, file.span(path), label="written here", help=help)


def _shown(path: At, at: At) -> str:
    return ".".join(map(str, path[len(at) :]))

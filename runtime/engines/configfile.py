"""A JSON file that people write: with `//` comments, and with the place of everything in it.

file = ConfigFile(Source("engine.json", text))
file.data                              {"scheduler": {"max_batch_size": "many"}}
file.span(("scheduler", "max_batch_size"))                   where "many" is written
"""

import json
import re
from pathlib import Path
from typing import Any

from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span

CODE = "E0661"

At = tuple[str | int, ...]  # names in objects and numbers in lists, from the whole file inward

_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*')
_SECRET = re.compile(r'("api_key"\s*:\s*")((?:[^"\\\n]|\\.)*)')
_SPACE = re.compile(r"\s*")


class ConfigError(Exception):
    """A config that cannot be used, with everything that is wrong with it."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n\n".join(one.render() for one in diagnostics))


class ConfigFile:
    """The one object of a file. Raises `ConfigError` where the text is none.

    A secret that somebody has written there is not kept: errors show lines of the file.
    """

    def __init__(self, source: Source) -> None:
        hidden = _SECRET.sub(lambda m: m[1] + "*" * len(m[2]), source.text)
        source = Source(source.name, hidden)
        self.source = source
        # as many blanks as there was comment: every offset stays true
        self._json = _COMMENT.sub(lambda m: m[1] or " " * len(m[0]), source.text)
        try:
            self.data: Any = json.loads(self._json, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            span = Span(source, error.pos, min(error.pos + 1, len(source.text)))
            raise ConfigError(Diagnostic(CODE, f"this is not JSON: {error.msg}", span)) from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(Diagnostic(CODE, f"this is not JSON: {error}")) from None
        if not isinstance(self.data, dict):
            raise ConfigError(Diagnostic(CODE, "a config is a JSON object", self.span(())))

    def value(self, path: At) -> Any:
        """What is written at `path`. Raises `LookupError` where nothing is."""
        held = self.data
        for name in path:
            held = held[name]
        return held

    def span(self, path: At) -> Span:
        """Where the value at `path` is written."""
        at = self._skip(0)
        for name in path:
            at = self._item(at, name) if isinstance(name, int) else self._find(at, name)
        return Span(self.source, at, self._end(at))

    def _item(self, at: int, number: int) -> int:
        """Where an item begins, in the list that begins at `at`."""
        at = self._skip(at + 1)
        for _ in range(number):
            at = self._skip(self._skip(self._end(at)) + 1)  # past the comma
        return at

    def _find(self, at: int, name: str) -> int:
        """Where the value of the key `name` begins, in the object that begins at `at`.

        As in JSON, the last one counts where there are several.
        """
        found = -1
        at = self._skip(at + 1)
        while self._json[at] != "}":
            end = self._end(at)
            value = self._skip(self._skip(end) + 1)  # past the colon
            if json.loads(self._json[at:end]) == name:
                found = value
            at = self._skip(self._end(value))
            if self._json[at] == ",":
                at = self._skip(at + 1)
        return found

    def _end(self, at: int) -> int:
        return json.JSONDecoder().raw_decode(self._json, at)[1]

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._json, at)
        return found.end() if found else at


def read_file(path: Path) -> ConfigFile:
    """Raises `ConfigError`."""
    try:
        return ConfigFile(Source(str(path), path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(Diagnostic(CODE, f"{path} cannot be read: {why}")) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")

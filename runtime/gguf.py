"""The header of a GGUF file: its metadata, and where each tensor is.

    header = read_header(path)
    header.metadata["general.architecture"] == "llama"

The `gguf` package reads the same, but takes seconds over the 100,000 strings of a vocabulary;
compiling a program needs them in a blink, and needs neither numpy nor the tensors.

Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of `shape` (outermost dimension first), stored as GGML type `kind` at `offset`."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int  # in the file


@dataclass(frozen=True, slots=True)
class Header:
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]


def read_header(path: Path) -> Header:
    """Raises `ValueError` when the file is not a whole GGUF header, `OSError` when it cannot be
    read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Reader(data).header()
        except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f"the GGUF header is damaged: {error}") from None


class _Reader:
    """A cursor over the bytes of a file. All numbers are little-endian."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def header(self) -> Header:
        if self._data[:4] != b"GGUF":
            raise ValueError("this is not a GGUF file")
        self._at = 4
        version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not supported")
        tensor_count, entry_count = self._number("Q"), self._number("Q")
        metadata = {self._string(): self._value(self._number("I")) for _ in range(entry_count)}
        tensors = [self._tensor() for _ in range(tensor_count)]
        align = metadata.get("general.alignment", 32)
        start = -(-self._at // align) * align
        return Header(
            metadata,
            tuple(TensorInfo(t.name, t.shape, t.kind, start + t.offset) for t in tensors),
        )

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        item, count = self._number("I"), self._number("Q")
        if item == _STRING:
            return [self._string() for _ in range(count)]
        format = f"<{count}{_NUMBERS[item]}"
        values = list(struct.unpack_from(format, self._data, self._at))
        self._at += struct.calcsize(format)
        return values

    def _tensor(self) -> TensorInfo:
        name = self._string()
        dimensions = [self._number("Q") for _ in range(self._number("I"))]
        kind = self._number("I")
        return TensorInfo(name, tuple(reversed(dimensions)), kind, self._number("Q"))

    def _number(self, format: str) -> Any:
        (value,) = struct.unpack_from("<" + format, self._data, self._at)
        self._at += struct.calcsize("<" + format)
        return value

    def _string(self) -> str:
        (length,) = _LENGTH.unpack_from(self._data, self._at)
        start = self._at + 8
        self._at = start + length
        if self._at > len(self._data):
            raise IndexError("a text goes beyond the end of the file")
        return self._data[start : self._at].decode()

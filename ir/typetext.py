"""Reads the text form of types, which is `str(type)`: `list<str>`, `int(ge=1)?`, `Answer`."""

from parrotc.ir.reader import Reader
from parrotc.ir.types import (
    BOOL,
    CONTEXT,
    NONE,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    Json,
    ListOf,
    Member,
    Optional,
    Record,
    Scored,
    Str,
    Type,
)


class TypeReader:
    """Reads types; knows the enums and records that were declared before."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.declared: dict[str, Enum | Record] = {}

    def read(self) -> Type:
        found = self._plain()
        while self.reader.take("?"):
            found = Optional(found)
        return found

    def _plain(self) -> Type:
        reader, start = self.reader, self.reader.at
        if reader.sees("{"):
            return Record("", reader.between("{", self._field, "}"))
        match reader.word("a type"):
            case "str":
                return Str(**self._bounds("regex", "max_len"))
            case "int":
                return Int(**self._bounds("ge", "le"))
            case "float":
                return Float(**self._bounds("ge", "le"))
            case "bool":
                return BOOL
            case "none":
                return NONE
            case "context":
                return CONTEXT
            case "list":
                return ListOf(self._inner(), **self._bounds("max_len"))
            case "choice":
                return Choice(reader.between("(", reader.quoted, ")"))
            case "scored":
                return self._scored(start)
            case name if name in self.declared:
                return self.declared[name]
            case name:
                reader.unknown(f"no type is called `{name}`", name, self.declared, start)

    def _scored(self, start: int) -> Scored:
        item = self._inner()
        if not isinstance(item, Enum | Choice):
            self.reader.fail("only a choice can be scored", start)
        return Scored(item)

    def _inner(self) -> Type:
        self.reader.expect("<")
        item = self.read()
        self.reader.expect(">")
        return item

    def _field(self) -> Field:
        name = self.reader.word("a field")
        self.reader.expect(":")
        return Field(name, self.read())

    def _bounds(self, *allowed: str) -> dict[str, Json]:
        if not self.reader.sees("("):
            return {}
        start = self.reader.at
        bounds = dict(self.reader.between("(", self._bound, ")"))
        for name in bounds:
            if name not in allowed:
                self.reader.fail(f"no bound is called `{name}` here", start)
        return bounds

    def _bound(self) -> tuple[str, Json]:
        name = self.reader.word("a bound")
        self.reader.expect("=")
        return name, self.reader.json()

    def enum(self) -> Enum:
        name = self.reader.name("@", "the name of an enum")
        found = Enum(name, self.reader.between("{", self._member, "}"))
        self.declared[name] = found
        return found

    def _member(self) -> Member:
        name = self.reader.word("a member")
        return Member(name, self.reader.quoted() if self.reader.sees('"') else "")

    def record(self) -> Record:
        name = self.reader.name("@", "the name of a record")
        found = Record(name, self.reader.between("{", self._declared_field, "}"))
        self.declared[name] = found
        return found

    def _declared_field(self) -> Field:
        field = self._field()
        has_default = self.reader.take("=")
        default = self.reader.json() if has_default else None
        doc = self.reader.quoted() if self.reader.sees('"') else ""
        return Field(field.name, field.type, doc, default, has_default)

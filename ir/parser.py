"""Reads the text form of a module that `ir/printer.py` writes.

Recursive descent over the text itself, one method a construct, linear in its length. What is
wrong with a text is a `CompileError` with its place: E0190 where the text is not of this form,
E0191 where a name means nothing. Whether the module makes sense is for `ir/verify.py` to say.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.ops import (
    OPS,
    Apply,
    Attempt,
    Attrs,
    Block,
    Call,
    Const,
    Effect,
    End,
    EnvRef,
    Fill,
    Flow,
    Fold,
    Free,
    Function,
    Generate,
    Ids,
    If,
    Map,
    Message,
    Model,
    Module,
    Native,
    NativeDecl,
    Op,
    Open,
    Param,
    Part,
    Prefix,
    Render,
    Text,
    Value,
)
from parrotc.ir.printer import SAMPLING
from parrotc.ir.reader import Reader
from parrotc.ir.source import Source
from parrotc.ir.types import CONTEXT, Enum, Json, Record, Type, freeze
from parrotc.ir.typetext import TypeReader


def parse_module(source: Source) -> Module:
    """The module a text describes. Raises `CompileError` with the first thing wrong in it."""
    try:
        return _Parser(Reader(source)).module()
    except RecursionError:
        raise CompileError([Diagnostic("E0190", "the text is nested too deeply")]) from None


class _Parser:
    """Declarations and ops. `values` holds what the flow that is being read has defined so far."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.types = TypeReader(reader)
        self.values: dict[str, Value] = {}

    # --- declarations ---

    def module(self) -> Module:
        reader = self.reader
        reader.expect_word("module")
        name = reader.name("@", "the name of the module")
        types: list[Enum | Record] = []
        found: dict[str, tuple[list[Any], Callable[[], object]]] = {
            "enum": (types, self.types.enum),
            "record": (types, self.types.record),
            "model": ([], self._model),
            "native": ([], self._native_decl),
            "prefix": ([], self._prefix),
            "function": ([], self._function),
            "flow": ([], self._flow),
        }
        reader.expect("{")
        while not reader.take("}"):
            start = reader.at
            kind = reader.word("a declaration or `}`")
            if kind not in found:
                reader.unknown(f"no declaration is called `{kind}`", kind, found, start)
            made, rule = found[kind]
            made.append(rule())
        if reader.at < len(reader.text):
            reader.fail("expected nothing after the module")
        rest = (found[kind][0] for kind in ("model", "native", "prefix", "function", "flow"))
        return Module(name, tuple(types), *map(tuple, rest))

    def _model(self) -> Model:
        reader = self.reader
        name = reader.name("@", "the name of a model")
        reader.expect("=")
        kind, target = reader.word("a kind of model"), reader.quoted()
        options = reader.between("{", self._option, "}") if reader.sees("{") else ()
        return Model(name, kind, target, options)

    def _option(self) -> tuple[str, Json | EnvRef]:
        name = self.reader.word("an option")
        self.reader.expect("=")
        if self.reader.take_word("env"):
            return name, EnvRef(self.reader.quoted())
        return name, self.reader.json()

    def _native_decl(self) -> NativeDecl:
        reader, start = self.reader, self.reader.at
        self.values = {}
        name = reader.name("@", "the name of a native")
        params = reader.between("(", self._param, ")")
        reader.expect("->")
        result = self.types.read()
        reader.expect("=")
        target, effect = reader.quoted(), self._effect()
        reader.expect_word("timeout")
        timeout = reader.json()
        return NativeDecl(name, target, params, result, effect, timeout, reader.span(start))

    def _effect(self) -> Effect:
        start = self.reader.at
        word = self.reader.word("an effect")
        if word not in list(Effect):
            self.reader.fail(f"expected one of {', '.join(Effect)}", start)
        return Effect(word)

    def _prefix(self) -> Prefix:
        reader = self.reader
        name = reader.name("@", "the name of a prefix")
        reader.expect_word("on")
        model = reader.name("@", "a model")
        parent = reader.name("@", "a prefix") if reader.take_word("after") else None
        reader.expect("=")
        ids = self._ids()
        return Prefix(name, model, parent, ids.ids, ids.text, self._notes())

    def _function(self) -> Function:
        reader, start = self.reader, self.reader.at
        self.values = {}
        name = reader.name("@", "the name of a function")
        params = reader.between("(", self._define, ")")
        reader.expect("->")
        outputs = reader.between("(", lambda: reader.word("an output"), ")")
        return Function(name, outputs, self._block(params, "yield"), reader.span(start))

    def _flow(self) -> Flow:
        reader, start = self.reader, self.reader.at
        self.values = {}
        name = reader.name("@", "the name of a flow")
        params = reader.between("(", self._param, ")")
        reader.expect("->")
        at = reader.at
        type_, written = self.types.read(), reader.span(at)
        notes = self._notes()
        body = self._block(tuple(param.value for param in params), "return")
        given = ", ".join(str(value.type) for value in body.yields)
        if given != str(type_):
            message = f"the flow gives `{given}`"
            raise CompileError([Diagnostic("E0190", message, written, "written here")])
        return Flow(name, params, body, notes, reader.span(start))

    def _param(self) -> Param:
        value = self._define()
        if self.reader.take("="):
            return Param(value, self.reader.json(), True)
        return Param(value)

    # --- values ---

    def _define(self) -> Value:
        """A new value with its type: `%doc: str`."""
        start = self.reader.at
        name = self.reader.name("%", "a value")
        self.reader.expect(":")
        return self._assign(name, self.types.read(), start)

    def _assign(self, name: str, type_: Type, start: int) -> Value:
        if name in self.values:
            self.reader.fail(f"`%{name}` is defined twice", start, "E0191")
        self.values[name] = Value(name, type_)
        return self.values[name]

    def _value(self) -> Value:
        """A value that is read."""
        start = self.reader.at
        name = self.reader.name("%", "a value")
        if name not in self.values:
            self.reader.unknown(f"no value is called `%{name}`", f"{name}", self.values, start)
        return self.values[name]

    def _args(self) -> tuple[Value, ...]:
        return self.reader.between("(", self._value, ")")

    def _ids(self) -> Ids:
        self.reader.expect_word("ids")
        return Ids(self.reader.ids(), self.reader.quoted())

    def _entry(self) -> tuple[str, Json]:
        name = self.reader.word("a name")
        self.reader.expect("=")
        return name, freeze(self.reader.json())

    def _notes(self) -> Attrs:
        """Notes in braces, if that is what the next brace opens: a region has no `name = …`."""
        if not _NOTES.match(self.reader.text, self.reader.at):
            return ()
        return self.reader.between("{", self._entry, "}")

    # --- ops ---

    def _block(self, params: tuple[Value, ...], last: str = "yield") -> Block:
        reader = self.reader
        reader.expect("{")
        ops: list[Op] = []
        while not reader.take_word(last):
            ops.append(self._op())
        yields = reader.several(self._value) if reader.sees("%") else ()
        reader.expect("}")
        return Block(params, tuple(ops), yields)

    def _op(self) -> Op:
        reader, start = self.reader, self.reader.at
        names: tuple[str, ...] = ()
        if reader.sees("%"):
            names = reader.several(lambda: reader.name("%", "a value"))
            reader.expect("=")
        op = self._head(reader.at)
        types = self._result_types(op)
        if len(types) != len(names):
            reader.fail(f"{len(names)} values are assigned, {len(types)} are given", start)
        notes = self._notes()
        op = self._with_regions(op)
        results = tuple(self._assign(n, t, start) for n, t in zip(names, types, strict=True))
        return replace(op, results=results, notes=notes, span=reader.span(start))

    def _result_types(self, op: Op) -> tuple[Type, ...]:
        """The types after `:`, and those that the op's name tells."""
        given = self.reader.several(self.types.read) if self.reader.take(":") else ()
        match op:
            case Generate():
                return (CONTEXT, *given)
            case Open() | Message() | End() | Fill() | Render():
                return (CONTEXT,)
        return given

    def _with_regions(self, op: Op) -> Op:
        match op:
            case Map() | Fold() | Attempt():
                return replace(op, body=self._block(op.body.params))
            case If():
                then = self._block(())
                self.reader.expect_word("else")
                return replace(op, then=then, orelse=self._block(()))
        return op

    def _head(self, start: int) -> Op:
        """The op up to its types: its results are not known yet, and its regions are empty."""
        reader = self.reader
        match reader.word("an op"):
            case "const":
                return Const(results=(), json=reader.json_text())
            case "apply":
                return self._apply()
            case "native":
                name, args = reader.name("@", "a native"), self._args()
                return Native(results=(), native=name, args=args, effect=self._effect())
            case "call":
                return self._call()
            case "map":
                params = self._params()
                reader.expect_word("in")
                return Map(results=(), items=self._value(), body=Block(params, (), ()))
            case "fold":
                return self._fold()
            case "if":
                return If(results=(), condition=self._value(), then=_EMPTY, orelse=_EMPTY)
            case "attempt":
                reader.expect_word("retries")
                retries, tolerant = (
                    reader.number("a number of retries"),
                    reader.take_word("tolerant"),
                )
                return Attempt(results=(), body=_EMPTY, retries=retries, tolerant=tolerant)
            case word if word.startswith("context."):
                return self._context_op(word, start)
            case word:
                reader.unknown(f"no op is called `{word}`", word, OPS, start)

    def _params(self) -> tuple[Value, ...]:
        return self.reader.between("(", self._define, ")")

    def _apply(self) -> Apply:
        function = self.reader.word("a function")
        attrs = self.reader.between("[", self._entry, "]") if self.reader.sees("[") else ()
        return Apply(results=(), function=function, args=self._args(), attrs=attrs)

    def _call(self) -> Call:
        reader = self.reader
        function, args = reader.name("@", "a function"), self._args()
        reader.expect_word("on")
        model = reader.name("@", "a model")
        reader.expect_word("site")
        site = reader.quoted()
        count = self._value() if reader.take_word("count") else None
        handed = reader.ids() if reader.take_word("handed") else ()
        return Call(
            results=(), function=function, args=args, model=model, site=site, count=count,
            handed=handed,
        )  # fmt: skip

    def _fold(self) -> Fold:
        reader, params = self.reader, self._params()
        reader.expect_word("in")
        items = self._value()
        inits = reader.several(self._value) if reader.take_word("from") else ()
        early = reader.take_word("early")
        return Fold(results=(), items=items, inits=inits, body=Block(params, (), ()), early=early)

    def _context_op(self, word: str, start: int) -> Op:
        reader = self.reader
        if word == "context.open":
            model = reader.name("@", "a model")
            prefix = reader.name("@", "a prefix") if reader.take_word("prefix") else None
            return Open(results=(), model=model, prefix=prefix)
        context = self._value()
        match word:
            case "context.message":
                return Message(results=(), context=context, role=reader.quoted())
            case "context.end":
                return End(results=(), context=context)
            case "context.fill":
                parts = reader.several(self._part) if reader.take(",") else ()
                return Fill(results=(), context=context, parts=parts)
            case "context.gen":
                return self._generate(context)
            case "context.render":
                return Render(results=(), context=context)
            case "context.free":
                return Free(results=(), context=context)
        reader.unknown(f"no op is called `{word}`", word, OPS, start)

    def _part(self) -> Part:
        if self.reader.sees('"'):
            return Text(self.reader.quoted())
        return self._value() if self.reader.sees("%") else self._ids()

    def _generate(self, context: Value) -> Generate:
        reader, start = self.reader, self.reader.at
        reader.expect_word("site")
        site = reader.quoted()
        name = reader.quoted() if reader.take_word("name") else ""
        sampling = dict(reader.between("(", self._entry, ")")) if reader.sees("(") else {}
        for field in sampling:
            if field not in SAMPLING:
                reader.unknown(f"no setting is called `{field}`", field, SAMPLING, start)
        return Generate(results=(), context=context, site=site, name=name, **sampling)


_EMPTY = Block((), (), ())
_NOTES = re.compile(r'\{\s*(?:[\w.$/-]+|"(?:[^"\\]|\\.)*")\s*=')

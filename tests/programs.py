"""Random programs, for tests that hold for every program: the one home of generators.

`random_module(rng)` gives a flow-level module with one flow `@main`. It is made so that passes have
something to do: prompts begin with a few shared texts, ops are repeated, loops hold invariant
work, some values are known and some are not, natives may have effects or fail, calls may be
greedy, sampled, counted, tried again or tolerated. Everything is drawn from one `random.Random`,
so a seed names a program.
"""

import json
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    Effect,
    End,
    Fill,
    Flow,
    Fold,
    Function,
    Generate,
    If,
    Map,
    Message,
    Model,
    Module,
    Native,
    NativeDecl,
    Op,
    Param,
    Part,
    Text,
    Value,
    blocks,
    substitute,
    with_blocks,
)
from parrotc.ir.types import (
    BOOL,
    CONTEXT,
    INT,
    STR,
    Choice,
    Enum,
    Field,
    Int,
    ListOf,
    Member,
    Optional,
    Record,
    Scored,
    Type,
)

TEXTS = (
    "You read with care.",
    "You read with care. Answer briefly:",
    "You read with care. Answer at length: ",
    "Text: ",
    "\n\n",
    " and ",
    "12 of 345",
    "Héllo, 世界! ",
    "",
    "<|im_end|>",
    "{{x}}",
)
PIECES = ("th", "e c", "at s", "at on", " it", "'s ", "e ", "12", "3 and")  # merge with each other
WORDS = (
    "alpha", " beta", "gamma ", "don't", "42", "x  y", "\n", "", "é", "the cat sat on the mat",
    "e cat", "at sat", "'s",
)  # fmt: skip
STRINGS = ListOf(STR)
MOOD = Enum("Mood", (Member("GOOD", "all is well"), Member("BAD")))
NOTE = Record("Note", (Field("title", STR), Field("score", Int(1, 5))))
ANSWERS: tuple[Type, ...] = (
    STR, STR, STR, STR, Int(1, 9), Choice(("yes", "no")), MOOD, Scored(MOOD), NOTE,
)  # fmt: skip


def shout(text: str) -> str:
    return text.upper() + "!"


def fussy(text: str) -> str:
    """Fails for about a quarter of all texts."""
    if sum(map(ord, text)) % 4 == 0:
        raise ValueError(f"not this one: {text[:20]}")
    return f"[{text[:40]}]"


def log(text: str) -> str:
    return f"logged {text[:10]}"


NATIVES = {"shout": shout, "fussy": fussy, "log": log}
DECLARED = tuple(
    NativeDecl(name, f"programs:{name}", (Param(Value("text", STR)),), STR, effect)
    for name, effect in (
        ("shout", Effect.PURE),
        ("fussy", Effect.PURE),
        ("log", Effect.EFFECTFUL),
    )
)
MODELS = (Model("m0", "reference", "chatml"), Model("m1", "reference", "llama3"))


def random_module(rng: Random, size: int = 8, others: int = 0) -> Module:
    """A module with the flow `@main` and, of the same functions, `others` more."""
    functions = tuple(_Prompt(rng, f"f{i}").function() for i in range(rng.randint(1, 3)))
    names = ["main", *(f"other{n}" for n in range(others))]
    flows = tuple(_Main(rng, functions, name).flow(rng.randint(1, size)) for name in names)
    return Module("random", (MOOD, NOTE), MODELS, DECLARED, (), functions, flows)


def random_args(rng: Random, flow: Flow) -> dict[str, Any]:
    def word() -> str:
        return "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 3)))

    made: dict[str, Any] = {}
    for param in flow.params:
        if param.value.type == STR:
            made[param.value.name] = word()
        else:
            made[param.value.name] = [word() for _ in range(rng.randint(0, 3))]
    return made


@dataclass
class _Maker:
    """Fresh names and a list of ops, shared by prompts and flows."""

    rng: Random
    prefix: str = "v"
    count: list[int] = field(default_factory=lambda: [0])

    def value(self, type_: Type) -> Value:
        self.count[0] += 1
        return Value(f"{self.prefix}{self.count[0]}", type_)

    def chance(self, of: int) -> bool:
        return self.rng.randrange(of) == 0

    def const(self, ops: list[Op], data: Any, type_: Type) -> Value:
        result = self.value(type_)
        ops.append(Const(results=(result,), json=json.dumps(data, ensure_ascii=False)))
        return result

    def apply(
        self, ops: list[Op], name: str, args: list[Value], type_: Type, **attrs: Any
    ) -> Value:
        result = self.value(type_)
        held = tuple(sorted(attrs.items()))
        ops.append(Apply(results=(result,), function=name, args=tuple(args), attrs=held))
        return result


class _Prompt(_Maker):
    """One semantic function: with messages or raw, with one or two outputs."""

    def __init__(self, rng: Random, name: str) -> None:
        super().__init__(rng)
        self.name = name
        self.gens = 0
        self.texts = [self.value(STR) for _ in range(rng.randint(0, 2))]
        self.lists = [self.value(STRINGS) for _ in range(rng.randint(0, 1))]

    def function(self) -> Function:
        start = self.value(CONTEXT)
        params = (start, *self.texts, *self.lists)
        ops: list[Op] = []
        wanted = self.rng.choice((1, 1, 2))
        if self.chance(3):
            yields = self._raw(ops, start, wanted)
        else:
            yields = self._messages(ops, start, wanted)
        outputs = ("",) if wanted == 1 else tuple(f"out{i}" for i in range(wanted))
        return Function(self.name, outputs, Block(params, tuple(ops), tuple(yields)))

    def _raw(self, ops: list[Op], context: Value, wanted: int) -> list[Value]:
        made: list[Value] = []
        for _ in range(wanted):
            context = self._body(ops, context)
            context, value = self._generate(ops, context)
            made.append(value)
        return made

    def _messages(self, ops: list[Op], context: Value, wanted: int) -> list[Value]:
        if self.chance(2):
            context = self._message(ops, context, "system")
        context = self._message(ops, context, "user")
        if self.chance(4):
            context = self._message(ops, context, "assistant")
            context = self._message(ops, context, "user")
        made: list[Value] = []
        context = self._step(
            ops, Message(results=(self.value(CONTEXT),), context=context, role="assistant")
        )
        for at in range(wanted):
            if at or self.chance(3):
                context = self._fill(ops, context)
            context, value = self._generate(ops, context)
            made.append(value)
            if self.chance(3):  # what follows a generation ends the message, another begins
                context = self._step(ops, End(results=(self.value(CONTEXT),), context=context))
                context = self._message(ops, context, "user")
                context = self._step(
                    ops, Message(results=(self.value(CONTEXT),), context=context, role="assistant")
                )
        return made

    def _message(self, ops: list[Op], context: Value, role: str) -> Value:
        context = self._step(
            ops, Message(results=(self.value(CONTEXT),), context=context, role=role)
        )
        context = self._body(ops, context)
        return self._step(ops, End(results=(self.value(CONTEXT),), context=context))

    def _body(self, ops: list[Op], context: Value) -> Value:
        for _ in range(self.rng.randint(1, 2)):
            kind = self.rng.randrange(4)
            if kind == 0 and self.lists:
                context = self._loop(ops, context)
            elif kind == 1 and self.texts:
                context = self._branch(ops, context)
            else:
                context = self._fill(ops, context)
        return context

    def _fill(self, ops: list[Op], context: Value, extra: tuple[Value, ...] = ()) -> Value:
        parts: list[Part] = []
        known = [*self.texts, *extra]
        only_values = self.chance(4)
        for _ in range(self.rng.randint(1, 3)):
            if known and (only_values or self.chance(2)):
                parts.append(self.rng.choice(known))
            else:
                parts.append(Text(self.rng.choice(PIECES if self.chance(2) else TEXTS) or "."))
        return self._step(
            ops, Fill(results=(self.value(CONTEXT),), context=context, parts=tuple(parts))
        )

    def _loop(self, ops: list[Op], context: Value) -> Value:
        item, index, inner = self.value(STR), self.value(INT), self.value(CONTEXT)
        held: list[Op] = []
        last = self._fill(held, inner, (item,))
        body = Block((item, index, inner), tuple(held), (last,))
        items = self.rng.choice(self.lists)
        if self.chance(3):
            items = self.const(ops, ["a", " b"], STRINGS)
        op = Fold(results=(self.value(CONTEXT),), items=items, inits=(context,), body=body)
        return self._step(ops, op)

    def _branch(self, ops: list[Op], context: Value) -> Value:
        test = self.apply(ops, "in", [self.const(ops, "a", STR), self.texts[0]], BOOL)
        arms = []
        for _ in range(2):
            held: list[Op] = []
            last = self._fill(held, context) if self.chance(2) else context
            arms.append(Block((), tuple(held), (last,)))
        op = If(results=(self.value(CONTEXT),), condition=test, then=arms[0], orelse=arms[1])
        return self._step(ops, op)

    def _generate(self, ops: list[Op], context: Value) -> tuple[Value, Value]:
        type_ = self.rng.choice(ANSWERS)
        results = (self.value(CONTEXT), self.value(type_))
        temperature = self.rng.choice((0.0, 0.8))
        op = Generate(
            results=results,
            context=context,
            site=str(self.gens),
            name=f"g{self.gens}",
            max_tokens=self.rng.randint(1, 6) if type_ == STR else 200,
            temperature=temperature,
            seed=7 if temperature and self.chance(2) else None,
            stop=self.rng.choice(((), (), ("e",), (" ", "\n"))) if type_ == STR else (),
        )
        self.gens += 1
        ops.append(op)
        return results

    @staticmethod
    def _step(ops: list[Op], op: Op) -> Value:
        ops.append(op)
        return op.results[0]


class _Main(_Maker):
    """The flow: data, natives, calls, loops and branches over the values made so far."""

    def __init__(self, rng: Random, functions: tuple[Function, ...], name: str) -> None:
        super().__init__(rng, "x")
        self.name = name
        self.functions = functions
        self.sites = 0
        self.visible: list[list[Op]] = []  # ops of the regions around, outermost first

    def flow(self, size: int) -> Flow:
        params = [self.value(self.rng.choice((STR, STR, STRINGS))) for _ in range(2)]
        params.append(self.value(STRINGS))
        ops: list[Op] = []
        scope = self._steps(ops, list(params), size, depth=0)
        made = [value for value in scope if value not in params]
        picked = self.rng.sample(made, min(len(made), self.rng.randint(1, 4))) or params[:1]
        names = tuple(f"r{i}" for i in range(len(picked)))
        fields = tuple(Field(n, v.type) for n, v in zip(names, picked, strict=True))
        result = self.apply(ops, "record", picked, Record("", fields), names=names)
        block = Block(tuple(params), tuple(ops), (result,))
        return Flow(self.name, tuple(Param(value) for value in params), block)

    def _steps(self, ops: list[Op], scope: list[Value], size: int, depth: int) -> list[Value]:
        """Add about `size` ops; the values in scope after them."""
        scope = list(scope)
        self.visible.append(ops)
        for _ in range(size):
            repeatable = [op for held in self.visible for op in held if not op.has_effect()]
            if repeatable and self.chance(4):
                op = self._again(self.rng.choice(repeatable))
                ops.append(op)
                scope += op.results
            else:
                scope += self._one(ops, scope, depth)
        self.visible.pop()
        return scope

    def _again(self, op: Op, names: dict[Value, Value] | None = None) -> Op:
        """The op once more, with names of its own for all that it makes."""
        names = {} if names is None else names
        op = substitute(op, names)
        op = with_blocks(op, tuple(self._block_again(block, names) for block in blocks(op)))
        results = tuple(self.value(value.type) for value in op.results)
        names.update(zip(op.results, results, strict=True))
        if isinstance(op, Call):
            return replace(op, results=results, site=self._site())
        return replace(op, results=results)

    def _block_again(self, block: Block, names: dict[Value, Value]) -> Block:
        params = tuple(self.value(param.type) for param in block.params)
        names.update(zip(block.params, params, strict=True))
        ops = tuple(self._again(op, names) for op in block.ops)
        return Block(params, ops, tuple(names.get(value, value) for value in block.yields))

    def _site(self) -> str:
        self.sites += 1
        return f"{self.name}.{self.sites - 1}"

    def _one(self, ops: list[Op], scope: list[Value], depth: int) -> list[Value]:
        kinds = ["data", "data", "native", "call", "call", "call"]
        if depth < 2:
            kinds += ["map", "fold", "if", "attempt"]
        match self.rng.choice(kinds):
            case "data":
                return [self._data(ops, scope)]
            case "native":
                return [self._native(ops, scope)]
            case "call":
                return [self._call(ops, scope)]
            case "map":
                return [self._map(ops, scope, depth)]
            case "fold":
                return [self._fold(ops, scope, depth)]
            case "if":
                return [self._if(ops, scope, depth)]
        return [self._attempt(ops, scope)]

    def _pick(self, ops: list[Op], scope: list[Value], type_: Type) -> Value:
        """A value of the type that is in scope, or a new constant."""
        fitting = [value for value in scope if value.type == type_]
        if fitting and not self.chance(5):
            return self.rng.choice(fitting)
        if type_ == STR:
            return self.const(ops, self.rng.choice(WORDS), STR)
        words = [self.rng.choice(WORDS) for _ in range(self.rng.randint(0, 3))]
        return self.const(ops, words, type_)

    def _data(self, ops: list[Op], scope: list[Value]) -> Value:
        one = self._pick(ops, scope, STR)
        match self.rng.randrange(6):
            case 0:
                return self.apply(ops, "add", [one, self._pick(ops, scope, STR)], STR)
            case 1:
                return self.apply(ops, "upper", [one], STR)
            case 2:
                return self.apply(ops, "list", [one, self._pick(ops, scope, STR)], STRINGS)
            case 3:
                return self.apply(ops, "bullets", [self._pick(ops, scope, STRINGS)], STR)
            case 4:
                return self.apply(ops, "format", [one], STR, texts=("<", ">"))
        listed = self._pick(ops, scope, STRINGS)
        return self.apply(ops, "index", [listed, self.const(ops, 0, INT)], STR)

    def _native(self, ops: list[Op], scope: list[Value]) -> Value:
        decl = self.rng.choice(DECLARED)
        result = self.value(STR)
        arg = self._pick(ops, scope, STR)
        ops.append(Native(results=(result,), native=decl.name, args=(arg,), effect=decl.effect))
        return result

    def _call(self, ops: list[Op], scope: list[Value]) -> Value:
        function = self.rng.choice(self.functions)
        args = tuple(self._pick(ops, scope, p.type) for p in function.body.params[1:])
        type_ = _result_type(function)
        count = None
        if self.chance(4):
            count = self.const(ops, self.rng.randint(0, 3), INT)
            type_ = ListOf(type_)
        op = Call(
            results=(self.value(type_),),
            function=function.name,
            args=args,
            model=self.rng.choice(MODELS).name,
            site=self._site(),
            count=count,
        )
        ops.append(op)
        return op.result

    def _map(self, ops: list[Op], scope: list[Value], depth: int) -> Value:
        items = self._pick(ops, scope, STRINGS)
        params = (self.value(STR), self.value(INT))
        body, last = self._body(params, [*scope, params[0]], depth)
        op = Map(results=(self.value(ListOf(last.type)),), items=items, body=body)
        ops.append(op)
        return op.result

    def _fold(self, ops: list[Op], scope: list[Value], depth: int) -> Value:
        items, init = self._pick(ops, scope, STRINGS), self._pick(ops, scope, STR)
        params = (self.value(STR), self.value(INT), self.value(STR))
        held: list[Op] = []
        inner = self._steps(held, [*scope, params[0], params[2]], self.rng.randint(1, 3), depth + 1)
        last = self.rng.choice([value for value in inner if value.type == STR])
        early = self.chance(3)
        yields: tuple[Value, ...] = (last,)
        if early:
            yields = (self.apply(held, "ne", [last, params[0]], BOOL), last)
        body = Block(params, tuple(held), yields)
        op = Fold(results=(self.value(STR),), items=items, inits=(init,), body=body, early=early)
        ops.append(op)
        return op.result

    def _if(self, ops: list[Op], scope: list[Value], depth: int) -> Value:
        known = self.const(ops, self.rng.choice(WORDS), STR)
        test = self.apply(ops, "eq", [self._pick(ops, scope, STR), known], BOOL)
        if self.chance(3):
            test = self.const(ops, self.chance(2), BOOL)
        arms = []
        for _ in range(2):
            held: list[Op] = []
            if arms and not arms[0].ops[0].has_effect() and self.chance(2):
                held.append(self._again(arms[0].ops[0]))  # it reads nothing of its own arm
            inner = [*scope, *(value for op in held for value in op.results)]
            inner = self._steps(held, inner, self.rng.randint(1, 2), depth + 1)
            last = self.rng.choice(
                [v for v in inner if v.type == STR] or [self._pick(held, [], STR)]
            )
            arms.append(Block((), tuple(held), (last,)))
        op = If(results=(self.value(STR),), condition=test, then=arms[0], orelse=arms[1])
        ops.append(op)
        return op.result

    def _attempt(self, ops: list[Op], scope: list[Value]) -> Value:
        held: list[Op] = []
        before = [op for op in ops if isinstance(op, Call | Native) and not op.has_effect()]
        if before and self.chance(3):
            held.append(self._again(self.rng.choice(before)))
            (last,) = held[0].results
        else:
            last = self._call(held, scope) if self.chance(2) else self._native(held, scope)
        tolerant = self.chance(2)
        result = self.value(Optional(last.type) if tolerant else last.type)
        body = Block((), tuple(held), (last,))
        retries = self.rng.randint(0, 2)
        ops.append(Attempt(results=(result,), body=body, retries=retries, tolerant=tolerant))
        return result

    def _body(
        self, params: tuple[Value, ...], scope: list[Value], depth: int
    ) -> tuple[Block, Value]:
        held: list[Op] = []
        inner = self._steps(held, scope, self.rng.randint(1, 3), depth + 1)
        fresh = [value for value in inner if value not in scope] or [params[0]]
        last = self.rng.choice(fresh)
        return Block(params, tuple(held), (last,)), last


def _result_type(function: Function) -> Type:
    if len(function.outputs) == 1:
        return function.body.yields[0].type
    pairs = zip(function.outputs, function.body.yields, strict=True)
    return Record("", tuple(Field(name, value.type) for name, value in pairs))

"""Random programs whose calls read what other calls have said, as text or as handed tokens.

`random_chain(rng)` gives a flow-level module whose flow `@main` is mostly made of such calls, in a
row and in folds, between natives that take their time; `handing_over` makes calls hand tokens over
(`with (handover=tokens)`) where they may.
"""

import json
from dataclasses import replace
from random import Random

from programs import DECLARED, MODELS, TEXTS, WORDS

from parrotc.ir.ops import (
    Apply,
    Block,
    Call,
    Const,
    End,
    Fill,
    Flow,
    Fold,
    Function,
    Generate,
    Message,
    Module,
    Native,
    Op,
    Param,
    Part,
    Text,
    Value,
    blocks,
    operands,
    walk,
    with_blocks,
)
from parrotc.ir.origins import Origins
from parrotc.ir.types import CONTEXT, INT, STR, ListOf


def random_chain(rng: Random, size: int = 7) -> Module:
    functions = tuple(_function(rng, f"f{number}") for number in range(3))
    return Module(
        "chain", (), MODELS, DECLARED, (), functions, (_Chain(rng, functions).flow(size),)
    )


def _function(rng: Random, name: str) -> Function:
    """A prompt of one or two messages, or none, that shows its parameters between texts."""
    params = [Value(f"p{number}", STR) for number in range(rng.randint(1, 3))]
    context = Value("c0", CONTEXT)
    ops: list[Op] = []

    def step(kind: type[Op], **fields: object) -> None:
        nonlocal context
        result = Value(f"c{len(ops) + 1}", CONTEXT)
        ops.append(kind(results=(result,), context=context, **fields))  # type: ignore[call-arg]
        context = result

    is_raw = rng.randrange(4) == 0
    shown = [*params, *rng.choices(params, k=rng.randrange(2))]
    roles = ["user"] if rng.randrange(2) else ["system", "user"]
    for number, role in enumerate([""] if is_raw else roles):
        parts: list[Part] = [Text(rng.choice(TEXTS))]
        for value in shown if number == 0 or rng.randrange(2) else ():
            parts += [value, Text(rng.choice((*TEXTS, "", "")))]
        if is_raw:
            step(Fill, parts=tuple(parts))
            continue
        step(Message, role=role)
        step(Fill, parts=tuple(parts))
        step(End)
    if not is_raw:
        step(Message, role="assistant")
    said = Value("said", STR)
    sampling = {"max_tokens": rng.randint(3, 40), "temperature": rng.choice((0.0, 0.0, 0.7))}
    stop = (
        (rng.choice(("\n", "e", "od", "n", ".")),) if rng.randrange(2) else ()
    )  # inside of tokens
    after = Value("last", CONTEXT)
    ops.append(Generate(results=(after, said), context=context, site="0", stop=stop, **sampling))
    return Function(name, ("",), Block((Value("c0", CONTEXT), *params), tuple(ops), (said,)))


class _Chain:
    """The flow of a chain; `spoken` are texts that calls gave, `texts` all there are."""

    def __init__(self, rng: Random, functions: tuple[Function, ...]) -> None:
        self.rng = rng
        self.functions = functions
        self.count = self.sites = 0

    def value(self, type_: object = STR) -> Value:
        self.count += 1
        return Value(f"v{self.count}", type_)  # type: ignore[arg-type]

    def flow(self, size: int) -> Flow:
        q, xs = Value("q", STR), Value("xs", ListOf(STR))
        ops: list[Op] = []
        texts = [q]
        for _ in range(size):
            texts.append(self.one(ops, texts, xs))
        listed = self.value(ListOf(STR))
        ops.append(Apply(results=(listed,), function="list", args=tuple(texts)))
        result = self.value()
        ops.append(Apply(results=(result,), function="bullets", args=(listed,)))
        return Flow("main", (Param(q), Param(xs)), Block((q, xs), tuple(ops), (result,)))

    def one(self, ops: list[Op], texts: list[Value], xs: Value) -> Value:
        match self.rng.randrange(7):
            case 0:
                decl = self.rng.choice(DECLARED)
                result, arg = self.value(), self.rng.choice(texts)
                ops.append(
                    Native(results=(result,), native=decl.name, args=(arg,), effect=decl.effect)
                )
                return result
            case 1:
                result = self.value()
                ops.append(Const(results=(result,), json=json.dumps(self.rng.choice(WORDS))))
                return result
            case 2 | 3:
                return self.fold(ops, texts, xs)
        return self.call(ops, texts)

    def call(self, ops: list[Op], texts: list[Value]) -> Value:
        function = self.rng.choice(self.functions)
        recent = texts[-2:] * 3 + texts  # mostly what has just been said
        args = tuple(self.rng.choice(recent) for _ in function.body.params[1:])
        self.sites += 1
        ops.append(
            Call(
                results=(self.value(),),
                function=function.name,
                args=args,
                model=self.rng.choice((MODELS[0], MODELS[0], MODELS[1])).name,
                site=f"main.{self.sites}",
            )
        )
        return ops[-1].result

    def fold(self, ops: list[Op], texts: list[Value], xs: Value) -> Value:
        item, index, so = self.value(), self.value(INT), self.value()
        held: list[Op] = []
        last = self.call(held, [*texts, item, so])
        if self.rng.randrange(2):
            last = self.call(held, [item, so, last])
        body = Block((item, index, so), tuple(held), (last,))
        result, init = self.value(), self.rng.choice(texts)
        ops.append(Fold(results=(result,), items=xs, inits=(init,), body=body))
        return result


def handing_over(module: Module, rng: Random) -> Module:
    """The module with most of the calls that may hand tokens over doing so."""
    functions = {function.name: function for function in module.functions}

    def visit(block: Block, origins: Origins) -> Block:
        ops = []
        for op in block.ops:
            if isinstance(op, Call) and rng.randrange(4):
                op = replace(op, handed=tuple(_handed(op, functions[op.function], origins)))
            ops.append(with_blocks(op, tuple(visit(inner, origins) for inner in blocks(op))))
        return replace(block, ops=tuple(ops))

    flows = (replace(f, body=visit(f.body, Origins(f.body))) for f in module.flows)
    return replace(module, flows=tuple(flows))


def _handed(call: Call, function: Function, origins: Origins) -> list[int]:
    params = function.body.params[1:]
    return [
        number
        for number, (arg, param) in enumerate(zip(call.args, params, strict=True))
        if arg.type == STR
        and all(isinstance(source, Call) for source in origins.of(arg))
        and _only_fills(param, function.body)
    ]


def _only_fills(param: Value, body: Block) -> bool:
    readers: list[Op] = [op for op in walk(body) if param in operands(op)]
    yields = [value for op in walk(body) for inner in blocks(op) for value in inner.yields]
    return bool(readers) and all(isinstance(op, Fill) for op in readers) and param not in yields

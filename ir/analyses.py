"""What can be told of a flow without running it: who makes and reads a value, how often, how much.

One `Analysis` answers every question about one flow of one module; it never changes, and a new
module gets a new one. The seeds' four primitives keep their names: `producer`, `consumers`,
`prefix_hash`, `objective`. Counts are `Symbolic`: exact for constants, `|name|` for what depends
on inputs (items of a list, tokens of a text). Works before and after `lower-calls`; prompts are
only known after it.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property

from parrotc.ir.ops import (
    Apply,
    Attempt,
    Block,
    Call,
    Const,
    Fill,
    Flow,
    Fold,
    Generate,
    Ids,
    If,
    Map,
    Module,
    Op,
    Open,
    Text,
    Value,
    blocks,
    operands,
    walk,
)
from parrotc.ir.symbolic import Most, Symbolic, lift, most, size
from parrotc.ir.types import Json

Count = Callable[[str], int]  # tokens of a text

NONE = Most()


def by_characters(text: str) -> int:
    """Tokens of an English text, for endpoints that tell no tokenizer: four characters each."""
    return (len(text) + 3) // 4


class Analysis:
    """Cached answers about one flow."""

    def __init__(self, module: Module, flow: Flow, count: Count = by_characters) -> None:
        self.module = module
        self.flow = flow
        self._count = count
        self._prefixes = {prefix.name: prefix for prefix in module.prefixes}

    # who makes and who reads a value

    def producer(self, value: Value) -> Op | None:
        """The op that assigns it; None for a parameter."""
        return self._producers.get(value)

    def consumers(self, value: Value) -> tuple[Op, ...]:
        """The ops that read it, in program order; an op also reads what its regions yield."""
        return tuple(self._consumers.get(value, ()))

    def prefix_hash(self, value: Value) -> str:
        """Equal for contexts that have read the same, whatever unknown values they share.

        For a generated value, that of the context it was generated from.
        """
        return hashlib.sha256(self._spelling(value).encode()).hexdigest()[:16]

    def objective(self, value: Value) -> Json:
        """What its producer was asked to be quick at, once `propagate-criteria` has run."""
        op = self.producer(value)
        return op.note("criteria") if op else None

    # how often and how much

    def times(self, op: Op) -> Symbolic:
        """How often it runs, at most: the product of the loops around it."""
        return self._times[id(op)]

    def generations(self) -> tuple[Op, ...]:
        """Every place that runs a model: generations, or calls before `lower-calls`."""
        return tuple(op for op in walk(self.flow.body) if isinstance(op, Generate | Call))

    @cached_property
    def calls(self) -> Symbolic:
        """How many generations there are at most (counting both arms of an `if`)."""
        return sum((self.times(op) for op in self.generations()), Symbolic())

    @cached_property
    def depth(self) -> Most:
        """Generations on the longest chain of which each needs the one before."""
        return self._block_depth(self.flow.body, {})

    @cached_property
    def width(self) -> Most:
        """How many generations can run at the same time, counted level by level."""
        return self._block_width(self.flow.body)

    def tokens(self, context: Value) -> Symbolic:
        """How many tokens a context has read at most."""
        return self._context_tokens[context]

    def filled(self, op: Fill) -> Symbolic:
        """How many tokens one run of a fill reads."""
        total = Symbolic()
        for part in op.parts:
            match part:
                case Ids():
                    total += len(part.ids)
                case Text():
                    total += self._count(part.text)
                case Value():
                    total += self._text_tokens(part)
        return total

    def items(self, op: Map | Fold) -> Symbolic:
        """How many iterations a loop has at most."""
        return self._length(op.items)

    # tables, each made once

    @cached_property
    def _producers(self) -> dict[Value, Op]:
        return {value: op for op in walk(self.flow.body) for value in op.results}

    @cached_property
    def _consumers(self) -> dict[Value, list[Op]]:
        table: dict[Value, list[Op]] = {}
        for op in walk(self.flow.body):
            yielded = [value for block in blocks(op) for value in block.yields]
            for value in dict.fromkeys([*operands(op), *yielded]):
                table.setdefault(value, []).append(op)
        return table

    @cached_property
    def _times(self) -> dict[int, Symbolic]:
        table: dict[int, Symbolic] = {}

        def visit(block: Block, factor: Symbolic) -> None:
            for op in block.ops:
                table[id(op)] = factor
                inner = factor
                if isinstance(op, Map | Fold):
                    inner = factor * self.items(op)
                elif isinstance(op, Attempt):
                    inner = factor * (1 + op.retries)
                elif isinstance(op, Call) and op.count is not None:
                    table[id(op)] = factor * self._number(op.count)
                for held in blocks(op):
                    visit(held, inner)

        visit(self.flow.body, lift(1))
        return table

    @cached_property
    def _context_tokens(self) -> dict[Value, Symbolic]:
        table: dict[Value, Symbolic] = {}

        def visit(block: Block) -> None:
            for op in block.ops:
                self._enter(op, table)
                for held in blocks(op):
                    visit(held)
                self._leave(op, table)

        visit(self.flow.body)
        return table

    def _enter(self, op: Op, table: dict[Value, Symbolic]) -> None:
        """What an op's own results, and the parameters of its region, have read."""
        match op:
            case Open():
                table[op.result] = self._prefix_tokens(op.prefix)
            case Fill():
                table[op.result] = table[op.context] + self.filled(op)
            case Generate():
                table[op.results[0]] = table[op.context] + op.max_tokens
            case Fold():
                for param, init in zip(op.body.params[2:], op.inits, strict=True):
                    if init in table:
                        table[param] = table[init]
            case _ if len(op.results) == 1:
                for context in operands(op):
                    if context in table:
                        table[op.result] = table[context]

    def _leave(self, op: Op, table: dict[Value, Symbolic]) -> None:
        """What results that come out of regions have read."""
        match op:
            case If():
                arms = zip(op.results, op.then.yields, op.orelse.yields, strict=True)
                for result, then, orelse in arms:
                    if then in table and orelse in table:
                        options = most((table[then], table[orelse])).options
                        table[result] = options[0]
            case Fold():
                first = 1 if op.early else 0
                yields = op.body.yields[first:]
                for result, init, last in zip(op.results, op.inits, yields, strict=True):
                    if init in table and last in table:
                        table[result] = table[init] + (table[last] - table[init]) * self.items(op)
            case Attempt():
                for result, last in zip(op.results, op.body.yields, strict=True):
                    if last in table:
                        table[result] = table[last]

    def _prefix_tokens(self, name: str | None) -> Symbolic:
        total = 0
        while name is not None:
            prefix = self._prefixes[name]
            total += len(prefix.ids)
            name = prefix.parent
        return lift(total)

    # sizes of values

    def _text_tokens(self, value: Value) -> Symbolic:
        op = self.producer(value)
        match op:
            case Const():
                held = json.loads(op.json)
                return lift(self._count(held if isinstance(held, str) else op.json))
            case Generate():
                return lift(op.max_tokens)
        return size(value.name)

    def _length(self, value: Value) -> Symbolic:
        """How many items a list has."""
        op = self.producer(value)
        match op:
            case Const():
                return lift(len(json.loads(op.json)))
            case Apply(function="list"):
                return lift(len(op.args))
            case Apply(function="range"):
                bounds = [self._number(arg).constant for arg in op.args]
                known = [int(bound) for bound in bounds if bound is not None]
                if len(known) == len(bounds):
                    return lift(len(range(*known)))
                if len(op.args) == 1:
                    return self._number(op.args[0])
            case Apply(function="enumerate" | "sorted"):
                return self._length(op.args[0])
            case Map():
                return self._length(op.items)
        return size(value.name)

    def _number(self, value: Value) -> Symbolic:
        op = self.producer(value)
        if isinstance(op, Const):
            held = json.loads(op.json)
            return lift(held) if isinstance(held, int | float) else size(value.name)
        return size(value.name)

    # depth and width

    def _block_depth(self, block: Block, depths: dict[Value, Most], start: Most = NONE) -> Most:
        """The depth of the deepest op of a block; `depths` gets that of each value.

        Nothing in a region starts before its op does: an `if` waits for its condition.
        """
        deepest = start
        for op in block.ops:
            before = most_of([start, *(depths.get(value, NONE) for value in operands(op))])
            after = before
            if isinstance(op, Generate | Call):
                after = before + 1
            elif inner := blocks(op):
                after = most_of([self._region_depth(op, held, depths, before) for held in inner])
            for value in op.results:
                depths[value] = after
            deepest = deepest | after
        return deepest

    def _region_depth(self, op: Op, block: Block, depths: dict[Value, Most], before: Most) -> Most:
        """How deep the results of a region are; iterations of a fold follow one another."""
        depths.update(dict.fromkeys(block.params, before))
        deepest = self._block_depth(block, depths, before)
        if isinstance(op, Fold):
            once = self._block_depth(block, {})
            return before.plus(once * self.items(op)) | deepest
        return deepest

    def _block_width(self, block: Block) -> Most:
        """Ops of one level (longest chain of ops before them) may run together."""
        level: dict[Value, int] = {}
        widths: dict[int, Most] = {}
        for op in block.ops:
            own = self._op_width(op)
            reads = [*operands(op), *(v for held in blocks(op) for v in _free(held))]
            at = max((level.get(value, 0) for value in reads), default=0)
            if own.constant != 0:
                widths[at] = widths.get(at, Most()).plus(own)
                at += 1
            level.update(dict.fromkeys(op.results, at))
        return most_of(list(widths.values()))

    def _op_width(self, op: Op) -> Most:
        match op:
            case Generate():
                return Most((lift(1),))
            case Call():
                return Most((lift(1) if op.count is None else self._number(op.count),))
            case Map():
                return self._block_width(op.body) * self.items(op)
        return most_of([self._block_width(held) for held in blocks(op)])

    # spelling of a context

    def _spelling(self, value: Value) -> str:
        """The chain of a context from its start, constants as text, values by name."""
        parts: list[str] = []
        while True:
            op = self.producer(value)
            match op:
                case Open():
                    start = f"{op.model}\0{self._prefix_spelling(op.prefix)}"
                    return start + "".join(reversed(parts))
                case Fill():
                    parts.append("".join(_part_spelling(part) for part in op.parts))
                    value = op.context
                case Generate() if value == op.results[1]:
                    value = op.context
                case _:
                    return f"\0%{value.name}\0" + "".join(reversed(parts))

    def _prefix_spelling(self, name: str | None) -> str:
        if name is None:
            return ""
        prefix = self._prefixes[name]
        return f"{self._prefix_spelling(prefix.parent)}{prefix.text}"


def most_of(options: Sequence[Most]) -> Most:
    return most(option for one in options for option in one.options)


def _free(block: Block) -> list[Value]:
    """Values a region reads and does not make itself."""
    made = {value for op in walk(block) for value in op.results} | set(block.params)
    made |= {param for op in walk(block) for held in blocks(op) for param in held.params}
    read = [value for op in walk(block) for value in operands(op)]
    return [value for value in dict.fromkeys(read) if value not in made]


def _part_spelling(part: Text | Ids | Value) -> str:
    return f"\0%{part.name}\0" if isinstance(part, Value) else part.text

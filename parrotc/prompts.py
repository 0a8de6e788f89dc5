"""The prompts of a flow: what each generation reads, and how much of it others read too.

What `parrotc plan` prints and `parrotc viz` draws. It looks at a module after `lower-calls`, where
sharing is visible: a context that several ops read from was filled once for all of them.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from parrotc.ir.analyses import Analysis, Count, by_characters
from parrotc.ir.ops import (
    Apply,
    Attempt,
    Call,
    Const,
    Fill,
    Flow,
    Fold,
    Free,
    Generate,
    If,
    Module,
    Native,
    Op,
    Open,
    Part,
    Text,
    Value,
    blocks,
    walk,
)
from parrotc.ir.symbolic import Most, Symbolic, added, lift, most, size
from parrotc.ir.totals import Taken, Total
from parrotc.passes.target import Target

UNNAMED = re.compile(r"v(\.|$)")  # how lowering names a value that the author gave no name


@dataclass(frozen=True)
class Prompt:
    """One generation of a flow. `contexts` lead from the opened one to the one it continues.

    `fork` is the last of them that others continue too, None if there is none.
    """

    op: Generate
    function: str
    contexts: tuple[Value, ...]
    fork: Value | None

    @property
    def title(self) -> str:
        return f"{self.function}.{self.op.name}" if self.op.name else self.function


class Prompts:
    """The prompts of one flow, and the analysis they come from."""

    def __init__(
        self,
        written: Module,
        optimised: Module,
        flow: Flow,
        target: Target,
        taken: Taken | None = None,
    ) -> None:
        """`written` is the module at flow level: it knows which function a call is of.

        `taken` is what inputs decide: how often each `if` takes its first arm.
        """
        self.flow = flow
        self.analysis = Analysis(optimised, flow, counter(optimised, target), taken)
        self._functions = {op.site: op.function for op in calls(written)}
        self._makers = {v.name: op for op in walk(flow.body) for v in op.results}
        self._carried = dict(_carried(flow))
        self.prompts = tuple(self._prompt(op) for op in walk(flow.body) if isinstance(op, Generate))

    def shared(self, prompt: Prompt) -> Symbolic:
        """How many tokens of a prompt are read once for this and other generations."""
        return self.analysis.tokens(prompt.fork) if prompt.fork else Symbolic()

    def constant(self, prompt: Prompt) -> int:
        """How many tokens of a prompt are known when compiling."""
        return self.made_of(prompt.contexts)[0]

    def own(self, prompt: Prompt) -> tuple[Value, ...]:
        """The contexts of a prompt after the one that it shares, or after the generation before."""
        ends = [prompt.fork, self.continued(prompt)]
        return prompt.contexts[max(prompt.contexts.index(c) + 1 if c else 0 for c in ends) :]

    def continued(self, prompt: Prompt) -> Value | None:
        """The context after the generation that a prompt goes on from, in the same call."""
        for context in reversed(prompt.contexts):
            if isinstance(self.analysis.producer(context), Generate):
                return context
        return None

    def made_of(self, contexts: Sequence[Value]) -> tuple[int, list[str]]:
        """What is read on the way through contexts: how many constant tokens, and which values,
        named as an author would."""
        constant, values = 0, list[str]()
        for context in contexts:
            op = self.analysis.producer(context)
            if isinstance(op, Open):
                constant += int(self.analysis.tokens(context).constant or 0)
            for fill, is_looped in _fills(op) if op else ():
                parts = [self._known(part) for part in fill.parts]
                shown = [self.label(part.name) for part in parts if isinstance(part, Value)]
                values += [f"each {name}" if is_looped else name for name in shown]
                if not is_looped:
                    constant += self._tokens(fill, parts)
        return constant, list(dict.fromkeys(values))

    def _tokens(self, fill: Fill, parts: Sequence[Part]) -> int:
        """The tokens of those parts that are constant."""
        fixed = tuple(part for part in parts if not isinstance(part, Value))
        return int(self.analysis.filled(replace(fill, parts=fixed)).constant or 0)

    def _known(self, part: Part) -> Part:
        """The part; as text, if it is a value that is a constant."""
        op = self._makers.get(part.name) if isinstance(part, Value) else None
        match op:
            case Const():
                held = json.loads(op.json)
                return Text(held) if isinstance(held, str) else part
            case Apply(function="show", args=(only,)):
                shown = self._known(only)
                return shown if isinstance(shown, Text) else part
        return part

    def read(self) -> Total:
        """How many tokens the flow fills: each fill as often as it runs, each prefix once."""
        return self.analysis.total(self._reads).plus(self._prefixes())

    def generated(self) -> Total:
        """How many tokens it generates, if each generation goes to its limit."""
        return self.analysis.total(_generates)

    def spent(self) -> Total:
        """How many tokens it fills and generates."""
        both = self.analysis.total(lambda op: self._reads(op) + _generates(op))
        return both.plus(self._prefixes())

    def _reads(self, op: Op) -> Symbolic:
        return self.analysis.filled(op) if isinstance(op, Fill) else Symbolic()

    def _prefixes(self) -> Total:
        """The tokens of the prefixes that the flow opens, each once."""
        opens = [op for op in walk(self.flow.body) if isinstance(op, Open) and op.prefix]
        opened = {op.prefix: op for op in opens if self.analysis.times(op).terms}
        tokens = added(self.analysis.tokens(op.result) for op in opened.values())
        return Total(Most((tokens,)), all(map(self.analysis.is_certain, opened.values())))

    def labelled(self, count: Symbolic | Most) -> Most:
        """A count with sizes named as an author would: `|f.path|` for `|v.6|`."""
        options = count.options if isinstance(count, Most) else (count,)
        return most(map(self._labelled, options))

    def _labelled(self, count: Symbolic) -> Symbolic:
        total = Symbolic()
        for names, coefficient in count.terms:
            term = lift(coefficient)
            for name in names:
                term *= size(self.label(name))
            total += term
        return total

    def label(self, name: str) -> str:
        """What a value is, in the words of the program."""
        op = self._makers.get(name)
        match op:
            case Apply(function="show" | "str", args=(only,)):
                return self.label(only.name)
            case Apply(function="get", args=(record,), attrs=(("field", str(field)),)):
                return f"{self.label(record.name)}.{field}"
            case _ if not UNNAMED.match(name):
                return plain_name(name)
            case Const():
                return op.json
            case Apply(function="index", args=(held, at)):
                return f"{self.label(held.name)}[{self.label(at.name)}]"
            case Apply(function="slice", args=(held, start, stop)):
                ends = (self.label(end.name).replace("null", "") for end in (start, stop))
                return f"{self.label(held.name)}[{':'.join(ends)}]"
            case Apply() | Native():
                called = self.python_name(op) if isinstance(op, Native) else op.function
                return f"{called}({', '.join(self.label(arg.name) for arg in op.args)})"
        return plain_name(name)

    def python_name(self, op: Native) -> str:
        """The function that a native calls, without its module."""
        targets = {native.name: native.target for native in self.analysis.module.natives}
        return targets[op.native].rpartition(":")[2]

    def prefix_text(self, name: str | None) -> str:
        """The whole text of a prefix of the module."""
        prefixes = {prefix.name: prefix for prefix in self.analysis.module.prefixes}
        text = ""
        while name is not None:
            text, name = prefixes[name].text + text, prefixes[name].parent
        return text

    def is_fork(self, context: Value) -> bool:
        """Whether several generations continue this context, or one does several times."""
        maker = self.analysis.producer(context)
        if not self.analysis.tokens(context).terms:
            return False  # nothing was read yet, so nothing is shared
        if isinstance(maker, Open):
            return True  # a prefix of the module: for every call of every flow that opens it
        readers = [op for op in self.analysis.consumers(context) if not isinstance(op, Free)]
        if maker is None or len(readers) > 1:
            return len(readers) > 1
        return any(self.analysis.times(op) != self.analysis.times(maker) for op in readers)

    def _prompt(self, op: Generate) -> Prompt:
        chain = tuple(reversed(list(self._chain(op.context))))
        forks = [context for context in chain if self.is_fork(context)]
        function = self._functions.get(op.site.rpartition("/")[0], op.site)
        return Prompt(op, function, chain, forks[-1] if forks else None)

    def _chain(self, context: Value | None) -> Iterator[Value]:
        """A context and those it was made from, newest first."""
        while context is not None:
            yield context
            op = self.analysis.producer(context)
            match op:
                case Open():
                    return
                case Fold():
                    context = op.inits[op.results.index(context)]
                case If():
                    context = op.then.yields[op.results.index(context)]
                case Attempt():
                    context = op.body.yields[op.results.index(context)]
                case None:
                    context = self._carried.get(context)
                case _:
                    context = getattr(op, "context", None)


def _generates(op: Op) -> Symbolic:
    return lift(op.max_tokens) if isinstance(op, Generate) else Symbolic()


def plain_name(name: str) -> str:
    """A value's name without the number that keeps it apart from others."""
    head, dot, number = name.rpartition(".")
    return head if dot and number.isdigit() else name


def calls(module: Module) -> Iterator[Call]:
    for flow in module.flows:
        yield from (op for op in walk(flow.body) if isinstance(op, Call))


def counter(module: Module, target: Target) -> Count:
    """How texts are counted: with the tokenizer of the module's first model that has one."""
    for model in module.models:
        known = target.models.get(model.name)
        if known is not None and known.tokenizer is not None:
            tokenizer = known.tokenizer
            return lambda text: len(tokenizer.encode(text))
    return by_characters


def _fills(op: Op) -> Iterator[tuple[Fill, bool]]:
    """The fills that an op does, and whether each is done in a loop."""
    if isinstance(op, Fill):
        yield op, False
    for block in blocks(op):
        for inner in walk(block):
            if isinstance(inner, Fill):
                yield inner, isinstance(op, Fold)


def _carried(flow: Flow) -> Iterator[tuple[Value, Value]]:
    """For each parameter that a fold carries: what it is at first."""
    for op in walk(flow.body):
        if isinstance(op, Fold):
            (body,) = blocks(op)
            yield from zip(body.params[2:], op.inits, strict=True)

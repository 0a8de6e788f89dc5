"""How a template's text is laid out along the chains of a flow, if it can be.

`Layout.texts` says what to put at each place where a chain is opened and where a message begins or
ends, `Layout.trims` which fills are at a trimmed edge of a content, `Layout.late` which chains must
be rendered when they run, and why.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.ops import (
    Block,
    End,
    Fill,
    Generate,
    Op,
    Open,
    Text,
    Value,
    blocks,
    is_handed,
    operands,
    walk,
)
from parrotc.passes.chains import origins
from parrotc.passes.paths import Gen, Path, Trace, trace
from parrotc.passes.seams import Halves, Units, cut
from parrotc.passes.target import Target
from parrotc.passes.template import Templates, pieces
from parrotc.passes.trim import is_solid

Sides = tuple[bool, bool]  # trimmed at the left, at the right


@dataclass(slots=True)
class Layout:
    texts: dict[Value, str] = field(default_factory=dict)  # by what the op there assigned
    trims: dict[Value, Sides] = field(default_factory=dict)  # by what `context.fill` assigned
    late: dict[Value, str] = field(default_factory=dict)  # opened context → why
    spoken: set[Value] = field(default_factory=set)  # opened contexts that messages follow


class Planner:
    """Lays out one flow."""

    def __init__(self, body: Block, target: Target, templates: dict[str, Templates]) -> None:
        self._target = target
        self._templates = templates
        self.origins = origins(body)
        self._trace: Trace = trace(body)
        self._readers: dict[Value, list[Op]] = defaultdict(list)
        self._producers: dict[Value, Op] = {}
        for op in walk(body):
            yielded = [value for block in blocks(op) for value in block.yields]
            for value in (*operands(op), *yielded):
                self._readers[value].append(op)
            for value in op.results:
                self._producers[value] = op
        self._seams: dict[Value, dict[tuple[Value, Value], set[str]]] = defaultdict(dict)
        self._sides: dict[Value, set[Sides]] = defaultdict(set)
        self._answers: set[Value] = set()  # messages that hold a generation
        self.layout = Layout()

    def plan(self) -> Layout:
        for gen in self._trace.gens.values():
            self._gen(gen)
        for opened, seams in self._seams.items():
            if opened not in self.layout.late:
                self._cut(opened, seams)
        for value in self._sides:
            opened = self.opened(value)
            if opened not in self.layout.late:
                self._edges(value, opened)
        return self.layout

    def opened(self, context: Value) -> Value:
        return self.origins[context.name].result

    def _gen(self, gen: Gen) -> None:
        """What the template wants before each message on the way to a generation."""
        opened = self.origins[gen.op.context.name]
        model = self._target.models.get(opened.model)
        if model is None or model.tokenizer is None:
            return
        if gen.paths is None:
            self.layout.late[opened.result] = "messages come in too many different orders"
            return
        if gen.paths == {()}:
            return  # a raw completion
        self.layout.spoken.add(opened.result)
        refusals: list[ValueError] = []
        for path in gen.paths:
            try:
                self._path(path, opened)
            except ValueError as refusal:
                refusals.append(refusal)
        if len(refusals) == len(gen.paths):
            raise self._refused(gen.op, opened, str(refusals[0]))

    def _path(self, path: Path, opened: Open) -> None:
        roles = tuple(self._trace.messages[message].role for message in path[:-1])
        templates = self._templates.get(opened.model)
        if templates is None:
            raise ValueError("it has no chat template")
        rendering = templates.before_answer(roles)
        if rendering is None:
            order = ", ".join(roles)
            why = f"it does not write {order} one after the other as they are"
            self.layout.late[opened.result] = why
            return
        seams = self._seams[opened.result]
        for before, message, text in zip(
            (opened.result, *path), path, rendering.texts, strict=False
        ):
            seams.setdefault((before, message), set()).add(text)
        for message, sides in zip(path[:-1], rendering.trims, strict=True):
            self._sides[message].add(sides)
        self._answers.add(path[-1])

    def _refused(self, op: Generate, opened: Open, why: str) -> CompileError:
        message = f"model `{opened.model}`: {why}"
        return CompileError([Diagnostic("E0401", message, op.span, "answers them")])

    def _cut(self, opened: Value, seams: dict[tuple[Value, Value], set[str]]) -> None:
        """Say what is written where: all between two messages before the second, if that is the
        same whatever the first was."""
        before: dict[Value, set[str]] = defaultdict(set)
        for (_, message), texts in seams.items():
            before[message] |= texts
        if all(len(texts) == 1 for texts in before.values()):
            self.layout.texts |= {message: min(texts) for message, texts in before.items()}
            return
        halves = None
        if all(len(texts) == 1 for texts in seams.values()):
            halves = cut({pair: self._units(min(one), opened) for pair, one in seams.items()})
        if halves is None:
            self.layout.late[opened] = "what it writes for a message depends on those around it"
            return
        ends, begins = halves
        self.layout.texts |= {message: "".join(units) for message, units in begins.items()}
        self.layout.texts[opened] = "".join(ends.get(opened, ()))
        for end in self._trace.ends:
            if self.opened(end.context) == opened:
                self._end(end, opened, ends)

    def _units(self, text: str, opened: Value) -> Units:
        model = self._target.models[self.origins[opened.name].model]
        assert model.tokenizer is not None
        split = enumerate(pieces(text, model.tokenizer.specials))
        return tuple(unit for at, piece in split for unit in ([piece] if at % 2 else piece))

    def _end(self, end: End, opened: Value, ends: Halves) -> None:
        """What ends a message; arms of an `if` may have begun different ones."""
        paths = self._trace.paths[end.context] or frozenset()
        texts = {"".join(ends.get(path[-1], ())) for path in paths}
        if len(texts) > 1:
            self.layout.late[opened] = "what ends a message depends on which one it is"
        self.layout.texts[end.result] = min(texts, default="")

    def _edges(self, value: Value, opened: Value) -> None:
        """Whether a message is trimmed, and how; or the chain is late."""
        role = self._trace.messages[value].role
        if len(self._sides[value]) > 1:
            self.layout.late[opened] = f"whether a message of role {role} is trimmed depends"
            return
        (sides,) = self._sides[value]
        if any(sides) and not self._trim(value, sides):
            self.layout.late[opened] = (
                f"it trims messages of role {role}, and where this one begins or ends is known "
                "only when it runs"
            )

    def _trim(self, value: Value, sides: Sides) -> bool:
        """Note which fills are to be trimmed; False if an edge is not one fill's."""
        first = self._only(self._readers[value])
        ends = list(self._ends(value))
        if isinstance(first, End):
            return True
        if isinstance(first, Fill):
            second = self._only(self._readers[first.result])
            if isinstance(second, End):
                self.layout.trims[first.result] = sides
                return True
        left, right = sides
        if left and not self._solid_left(first, value):
            return False
        return not right or all(self._solid_right(end, value) for end in ends)

    def _only(self, ops: list[Op]) -> Op | None:
        return ops[0] if len(ops) == 1 else None

    def _ends(self, value: Value) -> Iterator[End]:
        """The ends of a message, followed along its chain."""
        waiting, seen = [value], {value}
        while waiting:
            for op in self._readers[waiting.pop()]:
                if isinstance(op, End):
                    yield op
                    continue
                params = [param for block in blocks(op) for param in block.params]
                for after in (*op.results, *params):
                    if after.name in self.origins and after not in seen:
                        seen.add(after)
                        waiting.append(after)

    def _solid_left(self, first: Op | None, value: Value) -> bool:
        """Whether the content starts with what has nothing to trim, or can be trimmed now."""
        match first:
            case Generate():
                return True
            case Fill(parts=(part, *_)) if is_handed(part):
                return True
            case Fill(parts=(Text() as text, *_)) if is_solid(text):
                if not text.text[0].isspace():
                    return True
                if value not in self._answers:
                    self._also(first.result, (True, False))
                    return True
        return False

    def _solid_right(self, end: End, value: Value) -> bool:
        last = self._producers.get(end.context)
        match last:
            case Generate():
                return True
            case Fill(parts=(*_, part)) if is_handed(part):
                return True
            case Fill(parts=(*_, Text() as text)) if is_solid(text):
                if not text.text[-1].isspace():
                    return True
                if value not in self._answers and self._only(self._readers[last.result]) is end:
                    self._also(last.result, (False, True))
                    return True
        return False

    def _also(self, fill: Value, sides: Sides) -> None:
        before = self.layout.trims.get(fill, (False, False))
        self.layout.trims[fill] = (before[0] or sides[0], before[1] or sides[1])

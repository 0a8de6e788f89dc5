"""Bodies of semantic functions: pieces, messages, and holes that read or generate.

On every path through a body each output is generated exactly once. A body with messages and no
`gen` at all ends with `assistant "{{gen}}"`; that implied hole is kept in `Session.implicit`.
"""

from collections.abc import Iterator, Sequence

from parrotc.check.exprs import Exprs
from parrotc.check.naming import Place
from parrotc.check.narrowing import narrow
from parrotc.check.program import GenInfo, LocalSymbol, PfuncSymbol
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN, describe
from parrotc.check.sampling import default_sampling, sampling
from parrotc.check.session import File, Session
from parrotc.check.typeexprs import TypeReader, generatable
from parrotc.ir.diagnostic import Label
from parrotc.ir.source import Span
from parrotc.ir.types import Type
from parrotc.syntax import tree


def check_prompt(session: Session, file: File, symbol: PfuncSymbol) -> None:
    _Prompt(session, file, symbol).check()


class _Prompt:
    def __init__(self, session: Session, file: File, symbol: PfuncSymbol) -> None:
        self._session = session
        self._report = session.report
        self._types = TypeReader(session, file)
        self._symbol = symbol
        self._decl = symbol.decl
        self._outputs = dict(symbol.outputs)
        self._has_messages = any(isinstance(p, tree.MessagePiece) for p in _all(symbol.decl.body))
        self._done: dict[str, Span] = {}  # outputs generated on the way to here, and where
        self._gens = 0
        self._message: tree.MessagePiece | None = None  # the one we are in
        self._loop: tree.ForPiece | None = None  # the innermost one we are in
        self._exprs = Exprs(session, file, Place.PROMPT)
        for param in symbol.params:
            local = LocalSymbol(name=param.name, span=param.span, type=param.type)
            self._exprs.scope.bind(local)

    def check(self) -> None:
        self._pieces(self._decl.body)
        if self._gens:
            self._require_outputs()
        elif not self._has_messages:
            where = (
                "`{{gen}}`"
                if "" in self._outputs
                else f"`{{{{gen {self._symbol.outputs[0][0]}}}}}`"
            )
            self._report.add(
                "E0323",
                f"`{self._decl.name}` never says where the model continues",
                self._decl.name_span,
                note="a prompt without messages is a raw completion, so its end is not implied",
                help=f"write {where} where the output begins",
            )
        elif len(self._outputs) > 1:
            self._require_outputs()
        else:
            ((name, type_),) = self._symbol.outputs
            options = default_sampling(type_)
            info = GenInfo(name=name, type=type_, output=name, sampling=options)
            self._session.implicit[self._decl] = info

    def _require_outputs(self) -> None:
        missing = [name for name in self._outputs if name not in self._done]
        if not missing:
            return
        names = " and ".join(f"`{name}`" for name in missing if name)
        plural = "s" if len(missing) > 1 else ""
        verb = "are" if plural else "is"
        subject = f"the output{plural} {names}" if names else f"the output of `{self._decl.name}`"
        span = next(o.span for o in self._decl.outputs if o.name == missing[0])
        hole = f"{{{{gen {missing[0]}}}}}" if missing[0] else "{{gen}}"
        self._report.add(
            "E0320", f"{subject} {verb} never generated", span, help=f"write `{hole}` in the prompt"
        )

    # pieces

    def _pieces(self, body: Sequence[tree.Piece]) -> None:
        for piece in body:
            match piece:
                case tree.TextPiece():
                    self._text(piece)
                case tree.MessagePiece():
                    self._in_message(piece)
                case tree.IfPiece():
                    self._if(piece)
                case tree.ForPiece():
                    self._for(piece)

    def _text(self, piece: tree.TextPiece) -> None:
        if self._has_messages and self._message is None:
            self._report.add(
                "E0328",
                "this text is in no message, but the prompt has messages",
                piece.span,
                note="a prompt is either a raw text, or a list of messages",
                help='put it into a message: `user "…"`',
            )
        for part in piece.template.parts:
            match part:
                case tree.Show():
                    self._exprs.show(part)
                case tree.Gen():
                    self._gen(part)

    def _in_message(self, piece: tree.MessagePiece) -> None:
        if self._message is not None:
            labels = [Label(self._message.role_span, "inside this one")]
            message = "a message cannot be inside another message"
            self._report.add("E0328", message, piece.role_span, labels=labels)
            self._pieces(piece.body)
            return
        self._message = piece
        self._pieces(piece.body)
        self._message = None

    def _if(self, piece: tree.IfPiece) -> None:
        self._exprs.condition(piece.condition)
        outer, before = self._exprs.scope, self._done
        scopes, done = [], []
        for body, holds in ((piece.then, True), (piece.orelse, False)):
            self._done = dict(before)
            with self._exprs.inside(narrow(piece.condition, holds, outer)) as scope:
                self._pieces(body)
            scopes.append(scope)
            done.append(self._done)
        outer.merge(scopes)
        self._done = {**done[0], **done[1]}
        for name in done[0].keys() ^ done[1].keys():
            shown = f"the output `{name}`" if name else "the output"
            self._report.add(
                "E0320",
                f"{shown} is generated on one path only",
                self._done[name],
                "generated here",
                labels=[Label(piece.condition.span, "depends on this")],
                help="generate it in both branches, or after them",
            )

    def _for(self, piece: tree.ForPiece) -> None:
        item = self._exprs.items_of(piece.items)
        outer, outer_loop = self._exprs.scope, self._loop
        with self._exprs.inside(outer.inner()) as scope:
            self._exprs.unpack(piece.target, item)
            self._loop = piece
            self._pieces(piece.body)
            self._loop = outer_loop
        outer.close_loop(scope)

    # holes that generate

    def _gen(self, node: tree.Gen) -> None:
        self._gens += 1
        output, type_ = self._output(node)
        info = GenInfo(
            name=output if node.name is None and output else node.name or "",
            type=type_,
            output=output,
            sampling=sampling(self._exprs, node, type_),
        )
        self._session.gens[node] = info
        self._check_place(node)
        if output is not None:
            self._once(node, output)
        if info.name:
            self._bind(node, info.name, type_)

    def _output(self, node: tree.Gen) -> tuple[str | None, Type]:
        """Which output a hole feeds (None for a local name), and the type it generates."""
        given = self._types.read(node.type) if node.type else None
        name = node.name
        if name is None:
            if len(self._outputs) == 1:
                return self._symbol.outputs[0]
            # taken for the next output, so that this mistake is not told twice
            output = next((o for o in self._symbol.outputs if o[0] not in self._done), None)
            help_ = f"name it: `{{{{gen {output[0]}}}}}`" if output else ""
            message = "this hole does not say which output it generates"
            self._report.add("E0325", message, node.span, help=help_)
            return output or (None, BROKEN)
        if name not in self._outputs:
            return None, self._local(node, name, given)
        type_ = self._outputs[name]
        if given is not None and given != type_:
            message = f"`{name}` is declared as `{describe(type_)}`, not as `{describe(given)}`"
            self._report.add("E0325", message, node.span, help="leave the type out here")
        return name, type_

    def _local(self, node: tree.Gen, name: str, given: Type | None) -> Type:
        if given is not None:
            if why := generatable(given):
                self._report.add("E0307", "a model cannot generate this", node.span, note=why)
            return given
        near = did_you_mean(name, [n for n in self._outputs if n and n not in self._done])
        self._report.add(
            "E0325",
            f"`{name}` is no output of `{self._decl.name}`, and has no type of its own",
            node.span,
            help=near or f"`{{{{gen {name}: str}}}}` for a value that only this prompt uses",
        )
        if near:  # count it as the output that was meant: one mistake, one error
            meant = near.split("`")[1]
            self._done[meant] = node.span
        return BROKEN

    def _check_place(self, node: tree.Gen) -> None:
        message = self._message
        if message is not None and message.role != "assistant":
            self._report.add(
                "E0322",
                f"a model does not write `{message.role}` messages",
                node.span,
                labels=[Label(message.role_span, "in this message")],
                help='generate in a message of its own: `assistant "{{gen}}"`',
            )

    def _once(self, node: tree.Gen, output: str) -> None:
        shown = f"the output `{output}`" if output else "the output"
        if self._loop is not None:
            self._report.add(
                "E0321",
                f"{shown} is generated once for every item of a loop",
                node.span,
                labels=[Label(self._loop.items.span, "of this")],
                help="call the function for each item instead: `[f(x) for x in items]`",
            )
        elif output in self._done:
            labels = [Label(self._done[output], "first here")]
            message = f"{shown} is generated twice"
            help_ = f"`{{{{{output}}}}}` shows what was generated" if output else ""
            self._report.add("E0321", message, node.span, labels=labels, help=help_)
        self._done.setdefault(output, node.span)

    def _bind(self, node: tree.Gen, name: str, type_: Type) -> None:
        """A generated value has its name from here on; no name has two values on one path."""
        before = self._exprs.scope.lookup(name)
        if isinstance(before, LocalSymbol) and name not in self._outputs:
            labels = [Label(before.span, "bound here")] if before.span else []
            self._report.add("E0321", f"`{name}` has a value already", node.span, labels=labels)
        self._exprs.scope.bind(LocalSymbol(name=name, span=node.span, type=type_))


def _all(body: Sequence[tree.Piece]) -> Iterator[tree.Piece]:
    for piece in body:
        yield piece
        match piece:
            case tree.IfPiece():
                yield from _all(piece.then)
                yield from _all(piece.orelse)
            case tree.ForPiece() | tree.MessagePiece():
                yield from _all(piece.body)

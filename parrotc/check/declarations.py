"""Declarations to symbols: signatures, constants, types. Bodies are checked apart, afterwards.

A declaration is declared at its first use, so their order in a file is free.
"""

import re
from collections.abc import Callable, Sequence

from parrotc.check import generics, policies
from parrotc.check.consts import NotConstant, fold
from parrotc.check.exprs import Exprs
from parrotc.check.models import declare_model
from parrotc.check.naming import Place
from parrotc.check.program import (
    ConstSymbol,
    ExternSymbol,
    FlowSymbol,
    ParamInfo,
    PfuncSymbol,
    Symbol,
    TypeSymbol,
)
from parrotc.check.rules import BROKEN
from parrotc.check.session import BrokenSymbol, File, Session
from parrotc.check.typeexprs import TypeReader, generatable
from parrotc.ir.diagnostic import Label
from parrotc.ir.ops import Effect
from parrotc.ir.types import Enum, Field, Json, Member, Record, Type
from parrotc.syntax import tree

_DEFAULT_TIMEOUT = 60.0  # seconds, of a native function
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def declare(session: Session, file: File, decl: tree.Decl) -> Symbol:
    """The symbol of a declaration. What is wrong with its head is reported here, once."""
    match decl:
        case tree.ConstDecl():
            return _const(session, file, decl)
        case tree.ModelDecl():
            return declare_model(session, file, decl)
        case tree.EnumDecl():
            return _enum(session, file, decl)
        case tree.ClassDecl():
            return _class(session, file, decl)
        case tree.PfuncDecl():
            return _pfunc(session, file, decl)
        case tree.FlowDecl():
            return _flow(session, file, decl)
        case tree.ExternDecl():
            return _extern(session, file, decl)
    raise TypeError(f"no declaration of a name: {type(decl).__name__}")


# values and types


def _const(session: Session, file: File, decl: tree.ConstDecl) -> Symbol:
    wanted = TypeReader(session, file).read(decl.type) if decl.type else None
    value, type_ = constant(session, file, decl.value, wanted, f"the constant `{decl.name}`")
    if type_ == BROKEN:
        return BrokenSymbol(name=file.qualified(decl.name), span=decl.name_span)
    return ConstSymbol(name=file.qualified(decl.name), span=decl.name_span, type=type_, value=value)


def constant(
    session: Session, file: File, node: tree.Expr, wanted: Type | None, what: str
) -> tuple[Json, Type]:
    """The value and type of an expression that must be known when compiling."""
    exprs = Exprs(session, file, Place.CONST)
    mark = session.report.mark()
    if wanted is None:
        type_ = exprs.expr(node)
    else:
        exprs.expect(node, wanted, what)
        type_ = wanted
    if session.report.mark() > mark:
        return None, BROKEN
    try:
        return fold(session, node), type_
    except NotConstant as error:
        if error.why:
            text = error.node.span.text()
            subject = f"`{text}`" if len(text) < 40 and "\n" not in text else "this"
            message = f"{what} must be known when compiling"
            session.report.add("E0340", message, error.node.span, f"{subject} {error.why}")
        return None, BROKEN


def _enum(session: Session, file: File, decl: tree.EnumDecl) -> Symbol:
    policies.known_decorators(Exprs(session, file, Place.CONST), decl, ())
    _unique(session, [(m.name, m) for m in decl.members], f"the enum `{decl.name}`", "member")
    members = {m.name: Member(m.name, m.doc) for m in decl.members}
    enum = Enum(file.qualified(decl.name), tuple(members.values()))
    return TypeSymbol(name=enum.name, span=decl.name_span, type=enum)


def _class(session: Session, file: File, decl: tree.ClassDecl) -> Symbol:
    policies.known_decorators(Exprs(session, file, Place.CONST), decl, ())
    _unique(session, [(f.name, f) for f in decl.fields], f"the class `{decl.name}`", "field")
    reader = TypeReader(session, file)
    fields: dict[str, Field] = {}
    for given in decl.fields:
        type_ = reader.read(given.type)
        default, has_default = None, given.default is not None
        if given.default is not None:
            what = f"the default of `{given.name}`"
            default, _ = constant(session, file, given.default, type_, what)
        fields.setdefault(given.name, Field(given.name, type_, given.doc, default, has_default))
    record = Record(file.qualified(decl.name), tuple(fields.values()))
    return TypeSymbol(name=record.name, span=decl.name_span, type=record)


def _unique(
    session: Session, named: Sequence[tuple[str, tree.Node]], owner: str, kind: str
) -> None:
    seen: dict[str, tree.Node] = {}
    for name, node in named:
        if name in seen:
            labels = [Label(seen[name].span, "first here")]
            message = f"{owner} has two {kind}s called `{name}`"
            session.report.add("E0302", message, node.span, labels=labels)
        seen.setdefault(name, node)


# functions


def _pfunc(session: Session, file: File, decl: tree.PfuncDecl) -> Symbol:
    outputs = _outputs(session, file, decl)
    for output, (_, type_) in zip(decl.outputs, outputs, strict=True):
        if why := generatable(type_):
            session.report.add("E0307", "a model cannot generate this", output.span, note=why)
    return PfuncSymbol(
        name=file.qualified(decl.name),
        span=decl.name_span,
        decl=decl,
        params=_params(session, TypeReader(session, file), file, decl),
        outputs=outputs,
        result=_result(outputs),
        policy=policies.of_declaration(Exprs(session, file, Place.CONST), decl),
    )


def _flow(session: Session, file: File, decl: tree.FlowDecl) -> Symbol:
    return FlowSymbol(
        name=file.qualified(decl.name),
        span=decl.name_span,
        decl=decl,
        params=_params(session, TypeReader(session, file), file, decl),
        result=_result(_outputs(session, file, decl)),
        policy=policies.of_declaration(Exprs(session, file, Place.CONST), decl),
    )


def _outputs(
    session: Session, file: File, decl: tree.PfuncDecl | tree.FlowDecl
) -> tuple[tuple[str, Type], ...]:
    _unique(session, [(o.name, o) for o in decl.outputs], f"`{decl.name}`", "output")
    reader = TypeReader(session, file)
    return tuple((output.name, reader.read(output.type)) for output in decl.outputs)


def _result(outputs: tuple[tuple[str, Type], ...]) -> Type:
    """An output without a name is its own value; those with names are a record."""
    if len(outputs) == 1 and not outputs[0][0]:
        return outputs[0][1]
    return Record("", tuple(Field(name, type_) for name, type_ in outputs))


def _params(
    session: Session,
    reader: TypeReader,
    file: File,
    decl: tree.PfuncDecl | tree.FlowDecl | tree.ExternDecl,
) -> tuple[ParamInfo, ...]:
    _unique(session, [(p.name, p) for p in decl.params], f"`{decl.name}`", "parameter")
    params: dict[str, ParamInfo] = {}
    optional: tree.ParamDecl | None = None
    for given in decl.params:
        type_ = reader.read(given.type)
        default = None
        if given.default is not None:
            what = f"the default of `{given.name}`"
            default, _ = constant(session, file, given.default, type_, what)
            optional = given
        elif optional is not None:
            labels = [Label(optional.span, "this one has a default")]
            message = f"`{given.name}` has no default, but follows one that has"
            session.report.add("E0309", message, given.span, labels=labels)
        params.setdefault(
            given.name,
            ParamInfo(
                name=given.name,
                type=type_,
                default=default,
                has_default=given.default is not None,
                span=given.span,
            ),
        )
    return tuple(params.values())


def _extern(session: Session, file: File, decl: tree.ExternDecl) -> Symbol:
    variables: dict[str, Type] = {}
    params = _params(session, TypeReader(session, file, _noting(variables)), file, decl)
    bound = list(variables)
    result = TypeReader(session, file, _noting(variables)).read(decl.result)
    for name in list(variables)[len(bound) :]:
        message = f"the type parameter `{name}` is in the result, but in no parameter"
        session.report.add("E0307", message, decl.result.span)
    if _TARGET.fullmatch(decl.target) is None:
        message = f'a native function is named `"module:attribute"`, not `"{decl.target}"`'
        session.report.add("E0309", message, decl.span, help='`= "app.search:find"`')
    effect, timeout = _extern_policy(Exprs(session, file, Place.CONST), decl)
    return ExternSymbol(
        name=file.qualified(decl.name),
        span=decl.name_span,
        target=decl.target,
        params=params,
        result=result,
        effect=effect,
        timeout=timeout,
        type_params=tuple(bound),
    )


def _noting(found: dict[str, Type]) -> Callable[[str], Type | None]:
    """Type variables by name, noted in the order in which they are met."""

    def variable(name: str) -> Type | None:
        type_ = generics.variable(name)
        if type_ is not None:
            found.setdefault(name, type_)
        return type_

    return variable


def _extern_policy(exprs: Exprs, decl: tree.ExternDecl) -> tuple[Effect, float]:
    effect, timeout = Effect.EFFECTFUL, _DEFAULT_TIMEOUT
    for node in policies.known_decorators(exprs, decl, policies.EXTERN_DECORATORS):
        if node.name == "timeout":
            value = policies.single_argument(exprs, node)
            if value is not None:
                timeout = policies.duration(exprs, "timeout", value) or timeout
            continue
        policies.named_arguments(exprs, node, ())
        if effect is not Effect.EFFECTFUL:
            message = "`@pure` says more than `@idempotent`: one of them is enough"
            exprs.report.add("E0351", message, node.span)
        effect = Effect(node.name)
    return effect, timeout

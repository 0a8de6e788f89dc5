"""Model declarations: `model m = openai("name", base_url=env("URL"), fallback=[small])`."""

import json
from collections.abc import Mapping
from pathlib import Path

from parrotc.check.consts import NotConstant, fold
from parrotc.check.embed import text_argument
from parrotc.check.exprs import Exprs
from parrotc.check.naming import Place
from parrotc.check.program import ModelSymbol, Symbol
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN
from parrotc.check.session import BrokenSymbol, File, Session
from parrotc.ir.ops import EnvRef
from parrotc.ir.types import Json
from parrotc.runtime.engines.openai.options import NAMES, REQUIRED, SECRETS, problem
from parrotc.runtime.engines.openai.profiles import PRESETS, profile_of, to_data
from parrotc.syntax import tree

_OPTIONS: dict[str, tuple[str, ...]] = {
    "builtin": ("context", "dtype", "fallback"),
    **NAMES,
}


def declare_model(session: Session, file: File, decl: tree.ModelDecl) -> Symbol:
    exprs = Exprs(session, file, Place.CONST)
    name = file.qualified(decl.name)
    broken = BrokenSymbol(name=name, span=decl.name_span)
    kind = _kind(exprs, decl)
    if kind is None:
        return broken
    assert isinstance(decl.value, tree.CallExpr)
    first, options = decl.value.args[:1], decl.value.args[1:]
    target = _target(exprs, decl.value, kind, first)
    if target is None:
        return broken
    found: dict[str, Json | EnvRef] = {}
    for option in options:
        if option.name not in _OPTIONS[kind]:
            _unknown_option(exprs, kind, option)
        elif option.name in found:
            exprs.report.add("E0361", f"`{option.name}` is given twice", option.span)
        else:
            found[option.name] = _option(exprs, file, decl, option)
    _require(exprs, decl.value, kind, found)
    return ModelSymbol(
        name=name,
        span=decl.name_span,
        kind=kind,
        target=target,
        options=tuple(sorted(found.items())),
    )


def _kind(exprs: Exprs, decl: tree.ModelDecl) -> str | None:
    value = decl.value
    if isinstance(value, tree.CallExpr) and isinstance(value.function, tree.Name):
        kind = value.function.id
        if kind in _OPTIONS:
            return kind
        message = f"no kind of model is called `{kind}`"
        note = "there are `builtin`, `openai` and `azure`"
        help_ = did_you_mean(kind, _OPTIONS)
        exprs.report.add(
            "E0360", message, value.function.span, note="" if help_ else note, help=help_
        )
        return None
    message = "a model is a call of `builtin`, `openai` or `azure`"
    exprs.report.add("E0360", message, value.span, help=f'`model {decl.name} = builtin("…")`')
    return None


def _target(
    exprs: Exprs, call: tree.CallExpr, kind: str, first: tuple[tree.Arg, ...]
) -> str | None:
    """The model's name: a constant text. No text that a program computes names a model (W07)."""
    if first and first[0].name is None:
        type_ = exprs.expr(first[0].value)
        try:
            value = fold(exprs.session, first[0].value) if type_ != BROKEN else None
        except NotConstant:
            value = None
        if isinstance(value, str) and value:
            return value
        if type_ == BROKEN:
            return None
    message = f"`{kind}` takes the name of a model first, as a text"
    exprs.report.add("E0361", message, first[0].span if first else call.span)
    return None


def _unknown_option(exprs: Exprs, kind: str, option: tree.Arg) -> None:
    if option.name is None:
        exprs.report.add("E0361", "options of a model are written by name", option.span)
        return
    allowed = _OPTIONS[kind]
    message = f"`{kind}` has no option `{option.name}`"
    help_ = did_you_mean(option.name, allowed)
    note = "" if help_ else f"there are: {', '.join(allowed)}"
    exprs.report.add("E0361", message, option.span, note=note, help=help_)


def _option(exprs: Exprs, file: File, decl: tree.ModelDecl, option: tree.Arg) -> Json | EnvRef:
    value = option.value
    if option.name == "fallback":
        return _fallback(exprs, file, decl, value)
    if isinstance(value, tree.Duration):
        return _checked(exprs, file, option, value.seconds)
    if isinstance(value, tree.CallExpr) and _is_env(exprs, value):
        name = text_argument(exprs, value, "env", "a variable")
        return EnvRef(name or "")
    if exprs.expr(value) == BROKEN:
        return None
    try:
        return _checked(exprs, file, option, fold(exprs.session, value))
    except NotConstant as error:
        if error.why:
            message = f"`{option.name}` must be known when compiling"
            exprs.report.add("E0361", message, value.span, help='or read it from `env("NAME")`')
    return None


def _checked(exprs: Exprs, file: File, option: tree.Arg, value: Json) -> Json:
    """The value, after reporting what is wrong with it; of a profile that is a file, what it says:
    a plan needs no file."""
    name = option.name or ""
    found = problem(name, value)
    if found:
        help_ = f'`{name}=env("OPENAI_API_KEY")`' if name in SECRETS else ""
        exprs.report.add("E0361", f"`{name}` {found}", option.span, help=help_)
        return None
    if name == "profile" and value not in PRESETS:
        try:
            folder = Path(file.tree.source.name).parent
            return json.dumps(to_data(profile_of(str(value), folder)), sort_keys=True)
        except ValueError as error:
            exprs.report.add("E0361", str(error), option.span)
            return None
    return value


def _require(
    exprs: Exprs, call: tree.CallExpr, kind: str, found: Mapping[str, Json | EnvRef]
) -> None:
    lacking = [f"`{name}`" for name in REQUIRED.get(kind, ()) if name not in found]
    if lacking:
        message = f"`{kind}` needs {' and '.join(lacking)}"
        exprs.report.add("E0361", message, call.span)


def _is_env(exprs: Exprs, call: tree.CallExpr) -> bool:
    return isinstance(call.function, tree.Name) and call.function.id == "env"


def _fallback(exprs: Exprs, file: File, decl: tree.ModelDecl, value: tree.Expr) -> list[str]:
    """The unique names of models to try in turn when this one fails.

    Only the names: models may name each other, as long as none falls back on itself.
    """
    items = value.items if isinstance(value, tree.ListExpr) else (value,)
    names = []
    for item in items:
        other = file.declared.get(item.id) if isinstance(item, tree.Name) else None
        if isinstance(other, tree.ModelDecl) and isinstance(item, tree.Name):
            names.append(file.qualified(item.id))
            if other is decl or _falls_back_on(file, other, decl, set()):
                message = f"`{decl.name}` falls back on itself"
                exprs.report.add("E0361", message, item.span)
                return []
            continue
        symbol = exprs.meaning(item)
        if isinstance(symbol, ModelSymbol):
            names.append(symbol.name)
        elif not isinstance(symbol, BrokenSymbol):
            message = f"`fallback` lists models, and `{item.span.text()}` is none"
            exprs.report.add("E0361", message, item.span)
    return names


def _falls_back_on(
    file: File, decl: tree.ModelDecl, wanted: tree.ModelDecl, seen: set[tree.ModelDecl]
) -> bool:
    if decl in seen or not isinstance(decl.value, tree.CallExpr):
        return False
    seen.add(decl)
    lists = [arg.value for arg in decl.value.args if arg.name == "fallback"]
    named = [name for held in lists if isinstance(held, tree.ListExpr) for name in held.items]
    others = [file.declared.get(name.id) for name in named if isinstance(name, tree.Name)]
    return any(
        other is wanted
        or (isinstance(other, tree.ModelDecl) and _falls_back_on(file, other, wanted, seen))
        for other in others
    )

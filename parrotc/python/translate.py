"""A Python file as a `Tree`: its decorated functions, and what they name.

The file is parsed, never imported or run. Declarations are the functions under `@pfunc`, `@flow`
and `@native` and the models; classes, constants and imports come in when one of these names them,
so that the rest of the file may be any Python.

    def helper(x): ...                        (left alone)
    STYLE = "Plain prose."            ==>     ConstDecl STYLE
    @pfunc
    def digest(part: str) -> str: …           PfuncDecl digest
"""

import ast
import builtins
import sys
from collections.abc import Callable, Iterator
from pathlib import PurePath

from parrotc.check.builtins import FILTERS, FUNCTIONS, SPECIAL
from parrotc.check.loader import is_beside
from parrotc.ir.diagnostic import Diagnostic
from parrotc.ir.source import Source, Span
from parrotc.python.classes import Classes
from parrotc.python.exprs import Exprs
from parrotc.python.functions import DECORATORS, Functions
from parrotc.python.parsing import UNREADABLE, parsed
from parrotc.python.places import Places
from parrotc.python.policies import read_policies
from parrotc.python.scope import Binding, Kind, ModuleScope
from parrotc.python.types import TYPES, Types
from parrotc.syntax import tree
from parrotc.syntax.lint import lint
from parrotc.syntax.problem import Problem

_STANDARD = "parrotc.stdlib"


def translate(source: Source, module: str = "") -> tuple[tree.Tree, tuple[Diagnostic, ...]]:
    """The tree of a Python file and what is wrong with it; declarations with errors are left out.

    `module` is its dotted name when another file imports it: then its types and plain constants
    are declared too, as the importing file may name them.
    """
    try:
        file = parsed(source.text)
    except UNREADABLE as error:
        return tree.Tree(source=source, items=()), (_no_python(source, error),)
    return _Translation(Places(source), file, module).result()


def _no_python(source: Source, error: Exception) -> Diagnostic:
    if not isinstance(error, SyntaxError):
        return Diagnostic("E0120", f"this file is not Python: {error}", Span(source, 0, 0))
    line = min(max(error.lineno or 1, 1), source.line_count())
    start = Places(source).offset(line, 0)
    at = start + min(max((error.offset or 1) - 1, 0), len(source.line(line)))
    return Diagnostic("E0120", f"this file is not Python: {error.msg}", Span(source, at, at + 1))


class _Translation:
    def __init__(self, places: Places, file: ast.Module, module: str) -> None:
        self._places = places
        self._source = places.source
        self._body = file.body
        self._is_root = not module
        self._scope = ModuleScope(places, file.body)
        self._exprs = Exprs(places, self._scope, read_policies)
        self._types = Types(self._exprs)
        self._classes = Classes(places, self._types, self._scope)
        name = module or PurePath(self._source.name.replace("\\", "/")).stem
        self._functions = Functions(self._exprs, self._types, self._classes, name)
        self._found: list[Diagnostic] = []
        self._decls: dict[str, tree.Decl] = {}
        self._imports: dict[ast.stmt, list[tree.ImportedName]] = {}
        self._seen: set[str] = set()
        self._lost: set[str] = set()

    def result(self) -> tuple[tree.Tree, tuple[Diagnostic, ...]]:
        for node in self._body:
            self._root(node)
        for decl in list(self._decls.values()):
            self._needs(decl)
        if not self._is_root:
            self._offer()
        elif not self._decls and not self._found:
            self._found.append(_nothing_declared(self._source))
        decls = sorted(self._decls.values(), key=lambda decl: decl.span.start)
        items: tuple[tree.Import | tree.Decl, ...] = (*self._import_items(), *decls)
        made = tree.Tree(source=self._source, items=items, lost=frozenset(self._lost))
        return made, (*self._found, *lint(made))

    # what is declared in any case

    def _root(self, node: ast.stmt) -> None:
        """Translate a decorated function or a model; report one that stands inside something."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if self._functions.kind(node):
                if node.name not in self._seen:  # or else it is reported already
                    self._keep(node.name, lambda: self._function(node))
                return
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if self._is_model(name):
                    self._keep(name, lambda: self._model(name, self._scope.bindings[name]))
        for inner in ast.walk(node):
            if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if kind := self._functions.kind(inner):
                problem = self._places.problem(
                    self._places.name(inner),
                    "E0129",
                    f"a `@{kind}` stands at the top of its file, and in nothing else",
                    note="the names that it uses are those of the file",
                )
                self._found.append(problem.diagnostic)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tree.Decl:
        found = self._scope.bindings[node.name]
        if found.kind is not Kind.FUNCTION:
            raise self._places.problem(
                found.span,
                "E0302",
                f"`{node.name}` is declared twice",
                other=(self._places.name(node), "first here"),
            )
        return self._functions.declaration(node)

    def _keep(self, name: str, make: Callable[[], tree.Decl]) -> None:
        try:
            self._decls[name] = make()
        except Problem as mistake:
            self._found.append(mistake.diagnostic)
            self._lost.add(name)
        self._seen.add(name)

    def _is_model(self, name: str) -> bool:
        found = self._scope.bindings[name]
        func = found.value.func if isinstance(found.value, ast.Call) else None
        return func is not None and self._scope.origin(func).startswith("parrotc.model.")

    def _model(self, name: str, found: Binding) -> tree.ModelDecl:
        """`small = model.openai("…")`."""
        call = found.value
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        span = self._places.span(call.func)
        kind = Span(self._source, span.end - len(call.func.attr), span.end)
        args = (
            *self._exprs.positional(call.args),
            *read_policies(self._exprs, call.keywords),
        )
        value = tree.CallExpr(
            span=self._places.span(call),
            function=tree.Name(span=kind, id=call.func.attr),
            args=args,
        )
        return tree.ModelDecl(
            span=self._places.span(found.node),
            name=name,
            name_span=Span(self._source, found.span.start, found.span.start + len(name)),
            value=value,
        )

    # what is declared because something names it

    def _needs(self, decl: tree.Decl) -> None:
        """Declare what a declaration names, and what that names in turn."""
        for name, span in _free_names(decl):
            if name in self._seen:
                continue
            self._seen.add(name)
            try:
                needed = self._resolve(name, span)
            except Problem as mistake:
                self._found.append(mistake.diagnostic)
                self._lost.add(name)
                continue
            if needed is not None:
                self._decls[name] = needed
                self._needs(needed)

    def _resolve(self, name: str, span: Span) -> tree.Decl | None:
        found = self._scope.bindings.get(name)
        if found is None:
            if hasattr(builtins, name) and name not in {*FUNCTIONS, *SPECIAL, *FILTERS, *TYPES}:
                raise self._no_flow(span, f"Python's `{name}`", None)
            return None
        match found.kind:
            case Kind.FUNCTION:
                raise self._no_flow(span, f"the plain function `{name}`", found)
            case Kind.CLASS:
                assert isinstance(found.node, ast.ClassDef)
                return self._classes.declaration(found.node)
            case Kind.VALUE:
                return self._constant(name, found, span)
            case Kind.IMPORT:
                self._import(name, found, span)
                return None
        raise self._places.problem(
            span,
            "E0125",
            f"`{name}` is no constant: the file changes it when it runs",
            label="used here",
            other=(found.span, "changed here"),
            note="a program is compiled from the text of its file, without running it",
            help="pass it as a parameter",
        )

    def _no_flow(self, span: Span, what: str, found: Binding | None) -> Problem:
        return self._places.problem(
            span,
            "E0124",
            f"{what} cannot be used in a flow or a prompt",
            other=(found.span, "declared here") if found else None,
            note="the compiler must know the types and the effects of what it calls",
            help="decorate it with `@native`, and give it types"
            if found
            else "call it in a function of your own, under `@native`",
        )

    def _constant(self, name: str, found: Binding, span: Span) -> tree.ConstDecl | None:
        assert found.value is not None
        if self._scope.is_type_variable(found.value):
            return None
        if not self._scope.is_constant(found.value):
            raise self._places.problem(
                span,
                "E0125",
                f"`{name}` is no constant: its value is computed when the file runs",
                label="used here",
                other=(found.value, "computed here"),
                note="a program is compiled from the text of its file, without running it",
                help="pass it as a parameter, or read a text with `embed(…)`",
            )
        start = found.span.start
        return tree.ConstDecl(
            span=self._places.span(found.node),
            name=name,
            name_span=Span(self._source, start, start + len(name)),
            type=self._declared_type(found),
            value=self._exprs.expr(found.value),
        )

    def _declared_type(self, found: Binding) -> tree.TypeExpr | None:
        note = found.annotation
        if note is None or self._scope.origin(note) == "typing.Final":
            return None
        return self._types.read(note)

    # imports

    def _import(self, name: str, found: Binding, span: Span) -> None:
        if found.module == "parrotc" and found.name in SPECIAL:
            return  # what the language has built in
        if self._is_of_python(found):
            what = f"`{name}`, which comes from the Python module `{found.module}`,"
            raise self._no_flow(span, what, None)
        alias = None if found.name == name else name
        imported = tree.ImportedName(span=found.span, name=found.name.rstrip("_"), alias=alias)
        held = self._imports.setdefault(found.node, [])
        if found.name:
            held.append(imported)

    def _is_of_python(self, found: Binding) -> bool:
        """Whether an import is one of Python's own library, and not of a file beside this one."""
        if found.level or _is_standard(found.module):
            return False
        top = found.module.split(".")[0]
        is_known = top in {*sys.stdlib_module_names, "parrotc"}
        return is_known and not is_beside(found.module, self._source)

    def _import_items(self) -> Iterator[tree.Import]:
        for node, names in self._imports.items():
            span = self._places.span(node)
            if isinstance(node, ast.ImportFrom):
                module = _of_program(node.module or "")
                yield tree.Import(span=span, module=module, level=node.level, names=tuple(names))
            elif isinstance(node, ast.Import):
                for given in node.names:
                    if (given.asname or given.name.split(".")[0]) in self._seen:
                        module = _of_program(given.name)
                        yield tree.Import(
                            span=span, module=module, level=0, names=(), alias=given.asname
                        )

    # what another file may name

    def _offer(self) -> None:
        """Declare types and constants that nothing here names, if they are ones beyond doubt."""
        for name, found in self._scope.bindings.items():
            if name in self._seen:
                continue
            try:
                if found.kind is Kind.CLASS and isinstance(found.node, ast.ClassDef):
                    offered: tree.Decl = self._classes.declaration(found.node)
                    if not all(self._is_type(used) for used, _ in _free_names(offered)):
                        continue
                elif found.kind is Kind.VALUE and isinstance(found.value, ast.Constant):
                    constant = self._constant(name, found, found.span)
                    if constant is None:
                        continue
                    offered = constant
                else:
                    continue
            except Problem:
                continue  # no type of the language, and nobody asked for it
            self._seen.add(name)
            self._decls[name] = offered
            self._needs(offered)

    def _is_type(self, name: str) -> bool:
        found = self._scope.bindings.get(name)
        return name in TYPES or (found is not None and found.kind is Kind.CLASS)


def _is_standard(module: str) -> bool:
    return module == _STANDARD or module.startswith(f"{_STANDARD}.")


def _of_program(module: str) -> str:
    """A module as `.pfn` names it: `std.text` for `parrotc.stdlib.text`."""
    return module.replace(_STANDARD, "std", 1) if _is_standard(module) else module


def _free_names(decl: tree.Decl) -> Iterator[tuple[str, Span]]:
    """The names in a declaration that it does not bind itself, and where each first stands."""
    bound = {param.name for param in getattr(decl, "params", ())}
    seen: dict[str, Span] = {}
    for node in tree.walk(decl):
        match node:
            case tree.Target():
                bound.update(name.id for name in node.names)
            case tree.Gen(name=str() as name):
                bound.add(name)
            case tree.Name(id=name):
                seen.setdefault(name, node.span)
            case tree.NamedType() | tree.Filter():
                seen.setdefault(node.name.split(".")[0], node.span)
    yield from ((name, span) for name, span in seen.items() if name not in bound)


def _nothing_declared(source: Source) -> Diagnostic:
    names = ", ".join(f"`@{name}`" for name in DECORATORS)
    return Diagnostic(
        "E0116",
        "nothing is declared in this file",
        Span(source, 0, 0),
        notes=(f"functions of a program stand under {names}, imported from `parrotc`",),
        help="decorate a prompt with `@pfunc`, and what calls it with `@flow`",
    )

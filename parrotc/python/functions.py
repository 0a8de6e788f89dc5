"""Functions under `@pfunc`, `@flow` and `@native` as declarations: signatures and keywords."""

import ast

from parrotc.python.classes import Classes
from parrotc.python.exprs import Exprs
from parrotc.python.flow import FlowBody
from parrotc.python.parsing import called
from parrotc.python.pfunc import PfuncBody
from parrotc.python.policies import decorators, native_decorators
from parrotc.python.scope import Kind
from parrotc.python.types import Types
from parrotc.syntax import tree

DECORATORS = ("pfunc", "flow", "native")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Functions:
    """Translates the decorated functions of one file, whose dotted name is `module`."""

    def __init__(self, exprs: Exprs, types: Types, classes: Classes, module: str) -> None:
        self._exprs = exprs
        self._places = exprs.places
        self._types = types
        self._classes = classes
        self._module = module

    def kind(self, node: Function) -> str:
        """Which of our decorators a function has; empty for none."""
        found = (self._name(decorator) for decorator in node.decorator_list)
        return next((name for name in found if name in DECORATORS), "")

    def declaration(self, node: Function) -> tree.PfuncDecl | tree.FlowDecl | tree.ExternDecl:
        """The declaration of a function that has one. Raises `Problem`."""
        kind, call = self._decorator(node)
        if isinstance(node, ast.AsyncFunctionDef) and kind != "native":
            raise self._places.problem(
                self._places.head(node),
                "E0129",
                f"a `@{kind}` is a plain `def`",
                note="its calls run at the same time where they can",
                help=f"leave `async` out; from Python, `await {node.name}.acall(…)`",
            )
        match kind:
            case "pfunc":
                return self._pfunc(node, call)
            case "flow":
                return self._flow(node, call)
        return self._native(node, call)

    def _name(self, decorator: ast.expr) -> str:
        return self._exprs.scope.from_parrotc(called(decorator))

    def _decorator(self, node: Function) -> tuple[str, ast.Call | None]:
        """The decorator's name, and its call if it has arguments."""
        kind = self.kind(node)
        for decorator in node.decorator_list:
            if self._name(decorator) == kind:
                call = decorator if isinstance(decorator, ast.Call) else None
            else:
                raise self._places.problem(
                    decorator,
                    "E0129",
                    f"another decorator beside `@{kind}` would never run",
                    note="the function is compiled, not called",
                    help=f"say policies in the decorator: `@{kind}(retry=2)`",
                )
        if call is not None and call.args and kind != "native":
            raise self._places.problem(
                call.args[0], "E0129", f"`@{kind}` takes its policies by name"
            )
        return kind, call

    # the three kinds

    def _pfunc(self, node: Function, call: ast.Call | None) -> tree.PfuncDecl:
        return tree.PfuncDecl(
            span=self._places.span(node),
            name=node.name,
            name_span=self._places.name(node),
            decorators=decorators(self._exprs, call.keywords if call else []),
            params=self._params(node),
            outputs=self._outputs(node),
            body=PfuncBody(self._exprs).pieces(node.body),
        )

    def _flow(self, node: Function, call: ast.Call | None) -> tree.FlowDecl:
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        if not body:
            raise self._places.problem(
                self._places.name(node),
                "E0121",
                f"the flow `{node.name}` does nothing",
                help="end it with `return …`",
            )
        return tree.FlowDecl(
            span=self._places.span(node),
            name=node.name,
            name_span=self._places.name(node),
            decorators=decorators(self._exprs, call.keywords if call else []),
            params=self._params(node),
            outputs=self._outputs(node),
            body=FlowBody(self._exprs, self._types).suite(body),
        )

    def _native(self, node: Function, call: ast.Call | None) -> tree.ExternDecl:
        return tree.ExternDecl(
            span=self._places.span(node),
            name=node.name,
            name_span=self._places.name(node),
            decorators=native_decorators(self._exprs, call.keywords if call else []),
            params=self._params(node),
            result=self._types.read(self._returns(node)),
            target=self._target(node, call),
        )

    def _target(self, node: Function, call: ast.Call | None) -> str:
        """`module:name` of the function itself, or of the one that the decorator names."""
        given = call.args[0] if call and call.args else None
        if given is None:
            if _is_empty(node):
                raise self._places.problem(
                    self._places.name(node),
                    "E0129",
                    f"the native function `{node.name}` has no body",
                    help='write one, or name the function that it stands for: `@native("m:f")`',
                )
            return f"{self._module}:{node.name}"
        if not (isinstance(given, ast.Constant) and isinstance(given.value, str)):
            raise self._places.problem(
                given, "E0129", "the function that a native stands for is named by a literal text"
            )
        if not _is_empty(node):
            raise self._places.problem(
                given,
                "E0129",
                f"`{node.name}` stands for {given.value}, and has a body too",
                help="leave the body out (`...`), or the name",
            )
        return given.value

    # signatures

    def _params(self, node: Function) -> tuple[tree.ParamDecl, ...]:
        args = node.args
        for extra in (args.vararg, args.kwarg):
            if extra is not None:
                raise self._places.problem(
                    extra,
                    "E0123",
                    "a function of a program has a fixed list of parameters",
                    help=f"take a list: `{extra.arg}: list[str]`",
                )
        placed = [*args.posonlyargs, *args.args]
        missing: list[ast.expr | None] = [None] * (len(placed) - len(args.defaults))
        defaults = [*missing, *args.defaults, *args.kw_defaults]
        pairs = zip([*placed, *args.kwonlyargs], defaults, strict=True)
        return tuple(self._param(arg, default) for arg, default in pairs)

    def _param(self, arg: ast.arg, default: ast.expr | None) -> tree.ParamDecl:
        if arg.annotation is None:
            raise self._places.problem(
                arg,
                "E0123",
                f"the parameter `{arg.arg}` has no type",
                help=f"annotate it: `{arg.arg}: str`",
            )
        if isinstance(default, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp):
            raise self._places.problem(
                default,
                "E0127",
                f"the default of `{arg.arg}` is a mutable value",
                note="Python makes it once and shares it, and a plan would have made it anew",
                help=f"write `{arg.arg}: … | None = None`, or name a constant of the file",
            )
        if default is not None and not self._exprs.scope.is_constant(default):
            raise self._places.problem(
                default,
                "E0127",
                f"the default of `{arg.arg}` is computed when the file runs",
                note="a program is compiled from the text of its file, without running it",
                help="pass it at the call",
            )
        span = self._places.span(arg)
        return tree.ParamDecl(
            span=span if default is None else span.to(self._places.span(default)),
            name=arg.arg,
            type=self._types.read(arg.annotation),
            default=None if default is None else self._exprs.expr(default),
        )

    def _returns(self, node: Function) -> ast.expr:
        if node.returns is None:
            raise self._places.problem(
                self._places.name(node),
                "E0123",
                f"`{node.name}` does not say what it returns",
                help=f"annotate it: `def {node.name}(…) -> str:`",
            )
        return node.returns

    def _outputs(self, node: Function) -> tuple[tree.OutputDecl, ...]:
        """One output without a name, or those that the returned `NamedTuple` lists."""
        returns = self._returns(node)
        name = returns.id if isinstance(returns, ast.Name) else ""
        found = self._exprs.scope.bindings.get(name)
        if found is not None and found.kind is Kind.CLASS:
            assert isinstance(found.node, ast.ClassDef)
            outputs = self._classes.outputs(found.node)
            if outputs is not None:
                return outputs
        span = self._places.span(returns)
        return (tree.OutputDecl(span=span, name="", type=self._types.read(returns)),)


def _is_empty(node: Function) -> bool:
    """Whether a body is nothing but a docstring, `...` or `pass`."""
    return all(
        isinstance(inner, ast.Pass)
        or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
        for inner in node.body
    )

"""Warnings that need names and types, but no plan: unused names, wasted draws, trust.

Only files without errors are linted, and never the standard library.
"""

from collections.abc import Iterator

from parrotc.check.loader import is_standard
from parrotc.check.program import FlowSymbol, PfuncSymbol
from parrotc.check.session import File, Session
from parrotc.check.trust import trust
from parrotc.ir.diagnostic import Level
from parrotc.syntax import tree


def lint(session: Session, files: tuple[File, ...]) -> None:
    """Add the warnings of every file that has no error."""
    wrong = {
        finding.span.source
        for finding in session.report.found
        if finding.span is not None and finding.level is Level.ERROR
    }
    flows: list[FlowSymbol] = []
    for file in files:
        if file.tree.source not in wrong and not is_standard(file.tree.source):
            for rule in (_unused_imports, _unused_names, _wasted_draws, _idle_policies):
                rule(session, file)
            declared = (session.symbols.get(decl) for decl in file.declared.values())
            flows += [symbol for symbol in declared if isinstance(symbol, FlowSymbol)]
    trust(session, flows)


# names that nothing reads


def _unused_imports(session: Session, file: File) -> None:
    read: set[str] = set()
    for item in file.tree.items:
        if isinstance(item, tree.Decl):
            read.update(_read_names(item))
    for item in file.tree.items:
        if not isinstance(item, tree.Import):
            continue
        for name in item.names:
            if (name.alias or name.name) not in read:
                _unused(session, f"`{name.alias or name.name}` is imported, but never used", name)
        if not item.names and (item.alias or item.module.split(".")[0]) not in read:
            _unused(session, f"`{item.module}` is imported, but never used", item)


def _unused_names(session: Session, file: File) -> None:
    """Names that a flow or test binds and never reads. Items of loops need no reader."""
    for item in file.tree.items:
        if not isinstance(item, tree.FlowDecl | tree.TestDecl):
            continue
        targets = [node.target for node in tree.walk(item) if isinstance(node, tree.Assign)]
        bound = {id(name) for target in targets for name in target.names}
        read = set(_read_names(item, skip=bound))
        # the parts of a tuple are bound for their order, so some may be left unread
        alone = [target.names[0] for target in reversed(targets) if len(target.names) == 1]
        for name in {name.id: name for name in alone}.values():
            if name.id not in read and not name.id.startswith("_"):
                _unused(session, f"`{name.id}` is bound, but never read", name)


def _unused(session: Session, message: str, node: tree.Node) -> None:
    session.report.add("W0301", message, node.span, help="remove it")


def _read_names(root: tree.Node, skip: set[int] | None = None) -> Iterator[str]:
    """The first part of every name in a declaration, wherever it stands."""
    for node in tree.walk(root):
        match node:
            case tree.Name() if id(node) not in (skip or ()):
                yield node.id
            case tree.NamedType() | tree.Filter() | tree.Decorator():
                yield node.name.split(".")[0]


# draws that cannot differ


def _wasted_draws(session: Session, file: File) -> None:
    greedy = "its generations are greedy, so every draw is the same"
    help_ = "give the hole a temperature: `{{gen temperature=0.8}}`"
    for node, symbol in _policy_calls(session, file):
        policy = session.policies[node]
        if _samples(session, symbol):
            continue
        count, retry = _argument(node, "n"), _argument(node, "retry")
        if count is not None and not _is_one(count.value):
            message = f"`{symbol.decl.name}` gives the same answer {count.value.span.text()} times"
            session.report.add("W0601", message, count.span, note=greedy, help=help_)
        if retry is not None and policy.retry:
            _useless_retry(session, symbol, retry)
    for item in file.tree.items:
        declared = session.symbols.get(item) if isinstance(item, tree.PfuncDecl) else None
        if isinstance(declared, PfuncSymbol) and not _samples(session, declared):
            for decorator in declared.decl.decorators:
                if decorator.name == "retry":
                    _useless_retry(session, declared, decorator)


def _useless_retry(session: Session, symbol: PfuncSymbol, node: tree.Node) -> None:
    session.report.add(
        "W0602",
        f"running `{symbol.decl.name}` again gives the same answer",
        node.span,
        note="its generations are greedy: a retry only helps when the engine itself fails",
        help="give the hole a temperature: `{{gen temperature=0.8}}`",
    )


def _policy_calls(session: Session, file: File) -> Iterator[tuple[tree.With, PfuncSymbol]]:
    for item in file.tree.items:
        for node in tree.walk(item):
            if isinstance(node, tree.With) and isinstance(node.call, tree.CallExpr):
                symbol = session.names.get(node.call.function)
                if isinstance(symbol, PfuncSymbol):
                    yield node, symbol


def _samples(session: Session, symbol: PfuncSymbol) -> bool:
    """Whether two runs of the function can differ."""
    holes = [node for node in tree.walk(symbol.decl) if isinstance(node, tree.Gen)]
    options = [session.gens[hole].sampling for hole in holes if hole in session.gens]
    return any(given.get("temperature", 0) > 0 and "seed" not in given for given in options)


def _argument(node: tree.With, name: str) -> tree.Arg | None:
    return next((arg for arg in node.policies if arg.name == name), None)


def _is_one(node: tree.Expr) -> bool:
    return isinstance(node, tree.Literal) and node.value == 1


# policies that no call reads


def _idle_policies(session: Session, file: File) -> None:
    for item in file.tree.items:
        if not isinstance(item, tree.FlowDecl) or not item.decorators:
            continue
        called = [
            session.names.get(node.function)
            for node in tree.walk(item)
            if isinstance(node, tree.CallExpr)
        ]
        if not any(isinstance(symbol, PfuncSymbol | FlowSymbol) for symbol in called):
            for decorator in item.decorators:
                message = f"`@{decorator.name}` has nothing to act on"
                note = f"no call in `{item.name}` asks a model"
                session.report.add("W0603", message, decorator.span, note=note)

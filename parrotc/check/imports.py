"""The files of a program: what each imports, loaded once, and what the imported names mean."""

import re
from collections.abc import Sequence

from parrotc.check.loader import Loader, modules_near, why_unreadable
from parrotc.check.program import Symbol
from parrotc.check.report import did_you_mean
from parrotc.check.resolve import member, member_names
from parrotc.check.session import BrokenSymbol, File, NamespaceSymbol, Session
from parrotc.frontends import read_tree
from parrotc.ir.diagnostic import Label, Level
from parrotc.ir.source import Source, Span
from parrotc.syntax import tree

_HEAD = re.compile(r"^(?:extern[ ]+def|[a-z]\w*)[ ]+(\w+)", re.MULTILINE)


class Imports:
    """Reads the root file and everything it imports, dependencies first."""

    def __init__(self, session: Session, load: Loader) -> None:
        self._session = session
        self._report = session.report
        self._load = load
        self._open: list[tuple[File, tree.Import | None]] = []  # being read, outermost first
        self.files: dict[str, File] = {}  # by source name, the root file last

    def read(self, source: Source, id_: str = "") -> File:
        parsed, findings = read_tree(source, id_)
        self._report.found.extend(findings)
        file = File(id_, parsed)
        if any(finding.level is Level.ERROR for finding in findings):
            # a declaration that did not parse is left out; its name is no second mistake
            written = parsed.lost | frozenset(_HEAD.findall(source.text))
            file.lost = written - {i.name for i in _decls(parsed)}
        self._declare(file)
        self._open.append((file, None))
        for item in parsed.items:
            if isinstance(item, tree.Import):
                self._open[-1] = (file, item)
                self._import(file, item)
        self._open.pop()
        self.files[source.name] = file
        return file

    def _declare(self, file: File) -> None:
        for decl in _decls(file.tree):
            if isinstance(decl, tree.TestDecl):
                continue
            first = file.declared.setdefault(decl.name, decl)
            if first is not decl:
                labels = [Label(first.name_span, "first here")]
                message = f"`{decl.name}` is declared twice"
                self._report.add("E0302", message, decl.name_span, labels=labels)

    # one import

    def _import(self, file: File, node: tree.Import) -> None:
        if not node.names:
            self._import_module(file, node)
            return
        target = self._file(file, node, node.module) if node.module else None
        for name in node.names:
            bound = name.alias or name.name
            symbol = self._imported(file, node, target, name)
            self._bind(file, bound, symbol, name.span)

    def _imported(
        self, file: File, node: tree.Import, target: File | Symbol | None, name: tree.ImportedName
    ) -> Symbol:
        """What `name` of `from target import name` means: a declaration, or else a module."""
        if isinstance(target, BrokenSymbol):
            return target
        if isinstance(target, File):
            namespace = NamespaceSymbol(name=target.id, span=None, file=target)
            symbol = member(self._session, namespace, name.name)
            if symbol is None:
                message = f"the module `{node.module}` declares no `{name.name}`"
                help_ = did_you_mean(name.name, member_names(namespace))
                self._report.add("E0304", message, name.span, help=help_)
                return BrokenSymbol(name=name.name, span=None)
            return symbol
        inner = self._file(file, node, f"{node.module}.{name.name}".strip("."))
        if isinstance(inner, File):
            return NamespaceSymbol(name=inner.id, span=name.span, file=inner)
        if inner is None:
            self._missing(file, node, node.module or name.name, node if node.module else name)
        return BrokenSymbol(name=name.name, span=None)

    def _import_module(self, file: File, node: tree.Import) -> None:
        target = self._file(file, node, node.module)
        if target is None:
            self._missing(file, node, node.module, node)
            target = BrokenSymbol(name=node.module, span=None)
        first, *rest = node.module.split(".")
        if isinstance(target, BrokenSymbol):
            self._bind(file, node.alias or first, target, node.span)
            return
        assert isinstance(target, File)
        if node.alias or not rest:
            symbol = NamespaceSymbol(name=node.module, span=node.span, file=target)
            self._bind(file, node.alias or first, symbol, node.span)
            return
        self._nest(file, node, target)

    def _nest(self, file: File, node: tree.Import, target: File) -> None:
        """`import a.b` and `import a.c` share the namespace `a`."""
        parts = node.module.split(".")
        held = file.imported.get(parts[0])
        if not isinstance(held, NamespaceSymbol) or held.file is not None:
            held = NamespaceSymbol(name=parts[0], span=node.span)
            self._bind(file, parts[0], held, node.span)
        for part in parts[1:-1]:
            held = held.inner.setdefault(part, NamespaceSymbol(name=part, span=node.span))
        held.inner[parts[-1]] = NamespaceSymbol(name=node.module, span=node.span, file=target)

    def _bind(self, file: File, name: str, symbol: Symbol, span: Span) -> None:
        clash = file.declared.get(name)
        if clash is not None or (name in file.imported and file.imported[name] is not symbol):
            labels = [Label(clash.name_span, "declared here")] if clash else []
            message = f"`{name}` is imported, but already means something else here"
            self._report.add(
                "E0302", message, span, labels=labels, help="import it `as` another name"
            )
        file.imported.setdefault(name, symbol)

    # files

    def _file(self, importer: File, node: tree.Import, module: str) -> "File | BrokenSymbol | None":
        """The file of a module; None if there is none, broken after reporting why not."""
        try:
            source = self._load(module, node.level, importer.tree.source)
        except (OSError, UnicodeDecodeError) as error:
            message = f"the module `{module}` cannot be read: {why_unreadable(error)}"
            self._report.add("E0303", message, node.span)
            return BrokenSymbol(name=module, span=None)
        if source is None:
            return None
        if source.name in self.files:
            return self.files[source.name]
        circle = [f.tree.source.name for f, _ in self._open]
        if source.name in circle:
            self._cycle(circle.index(source.name), node)
            return BrokenSymbol(name=module, span=None)
        return self.read(source, _module_id(importer, node, module))

    def _cycle(self, start: int, node: tree.Import) -> None:
        circle = self._open[start:]
        names = [_short(file) for file, _ in circle]
        labels = [Label(at.span, "through this import") for _, at in circle[:-1] if at is not None]
        message = f"these files import each other: {' → '.join([*names, names[0]])}"
        note = "what a file declares must be known before another can use it"
        help_ = "move what both need into a third file"
        self._report.add("E0305", message, node.span, labels=labels, note=note, help=help_)

    def _missing(self, file: File, node: tree.Import, module: str, at: tree.Node) -> None:
        source = file.tree.source
        shown = "." * node.level + module
        near = did_you_mean(module, modules_near(source))
        path = module.replace(".", "/")
        note = f"there is no file {path}.pfn or {path}.py beside {source.name}"
        if module.startswith("std."):
            note = "the standard library has no such module"
        self._report.add("E0303", f"no module is called `{shown}`", at.span, note=note, help=near)


def _decls(parsed: tree.Tree) -> Sequence[tree.Decl]:
    return [item for item in parsed.items if isinstance(item, tree.Decl)]


def _short(file: File) -> str:
    return file.tree.source.name.replace("\\", "/").rsplit("/", 1)[-1]


def _module_id(importer: File, node: tree.Import, module: str) -> str:
    """A module's name seen from the root file: the same file has one name."""
    if module.startswith("std.") and node.level == 0:
        return module
    package = importer.id.split(".")[:-1]
    up = max(0, node.level - 1)
    # above the root file's folder there is no dotted name, so each step has a made-up one
    outside = ["_parent"] * max(0, up - len(package))
    return ".".join([*outside, *package[: max(0, len(package) - up)], module])

"""Functions read where they stand: `embed("file")` in a constant, `env("NAME")` in a model.

An embedded file becomes part of the program: its text is folded, its sha256 is recorded.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from parrotc.check.loader import why_unreadable
from parrotc.check.naming import Place
from parrotc.check.report import did_you_mean
from parrotc.check.rules import BROKEN
from parrotc.ir.types import STR, Type
from parrotc.syntax import tree

if TYPE_CHECKING:
    from parrotc.check.exprs import Exprs


def embed(exprs: "Exprs", node: tree.CallExpr) -> Type:
    """Read the file that `embed` names, relative to the source that says so."""
    name = text_argument(exprs, node, "embed", "a file")
    if name is None:
        return BROKEN
    if exprs.place is not Place.CONST:
        exprs.report.add(
            "E0342",
            "`embed` stands only in a constant",
            node.span,
            f"this is {exprs.place}",
            help=f'`const TEXT = embed("{name}")`, and use `TEXT` here',
        )
        return BROKEN
    path = Path(exprs.file.tree.source.name).parent / name
    try:
        held = path.read_bytes()
        text = held.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        _unreadable(exprs, node, name, path, error)
        return BROKEN
    exprs.session.embedded[name] = hashlib.sha256(held).hexdigest()
    exprs.session.folded[node] = text.replace("\r\n", "\n")
    return STR


def _unreadable(
    exprs: "Exprs", node: tree.CallExpr, name: str, path: Path, error: Exception
) -> None:
    help_ = ""
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        help_ = did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    message = f"the file `{name}` cannot be embedded: {why_unreadable(error)}"
    note = f"names are relative to {exprs.file.tree.source.name}"
    exprs.report.add("E0341", message, node.args[0].span, note=note, help=help_)


def misplaced_env(exprs: "Exprs", node: tree.CallExpr) -> Type:
    exprs.report.add(
        "E0342",
        "`env` stands only in the arguments of a `model`",
        node.span,
        f"this is {exprs.place}",
        note="a plan holds the name of a variable, never its value",
        help="pass the value as a parameter of the flow",
    )
    return BROKEN


def text_argument(exprs: "Exprs", node: tree.CallExpr, name: str, what: str) -> str | None:
    """The one text that the call is given; None after reporting that it is not so."""
    match node.args:
        case (tree.Arg(name=None, value=tree.Literal(value=str() as text)),):
            exprs.expr(node.args[0].value)
            return text
    message = f"`{name}` takes the name of {what}, as a text"
    exprs.report.add("E0311", message, node.span)
    return None

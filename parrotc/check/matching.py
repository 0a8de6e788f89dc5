"""`match`: patterns that can match, each once, and nothing left over."""

from parrotc.check.consts import NotConstant, fold
from parrotc.check.exprs import Exprs
from parrotc.check.rules import BROKEN, a, describe, names_of, without_none
from parrotc.ir.diagnostic import Label
from parrotc.ir.types import Bool, Choice, Enum, Int, Json, Optional, Str, Type
from parrotc.syntax import tree


class Matching:
    """Follows the cases of one `match` in order."""

    def __init__(self, exprs: Exprs, node: tree.Match) -> None:
        self._exprs = exprs
        self._report = exprs.report
        self._node = node
        self._subject = exprs.expr(node.subject)
        self._seen: dict[str, tree.Node] = {}  # values by their repr: `True` is not `1`
        self._rest: tree.Case | None = None  # the case that takes what is left
        self._broken = self._subject == BROKEN
        if not isinstance(without_none(self._subject), Enum | Choice | Str | Int | Bool):
            self._broken = True
            if self._subject != BROKEN:
                message = (
                    f"`match` takes a choice, a text, an int or a bool, not {a(self._subject)}"
                )
                self._report.add("E0315", message, node.subject.span)

    def case(self, case: tree.Case) -> None:
        if self._rest is not None:
            labels = [Label(self._rest.span, "this takes everything")]
            message = "this case can never be reached"
            self._report.add("E0333", message, case.span, labels=labels)
        if not case.patterns:
            self._rest = case
        for pattern in case.patterns:
            self._pattern(pattern)

    def _pattern(self, pattern: tree.Expr) -> None:
        if isinstance(pattern, tree.Name) and self._bare_member(pattern):
            return
        self._exprs.expect(pattern, BROKEN if self._broken else self._subject, "a pattern")
        try:
            key = repr(fold(self._exprs.session, pattern))
        except NotConstant as error:
            self._broken = True
            if error.why:
                message = "a pattern is a literal or a member of an enum"
                self._report.add("E0333", message, pattern.span)
            return
        if key in self._seen:
            labels = [Label(self._seen[key].span, "first here")]
            message = f"`{pattern.span.text()}` is matched twice"
            self._report.add("E0333", message, pattern.span, labels=labels)
        self._seen.setdefault(key, pattern)

    def _bare_member(self, pattern: tree.Name) -> bool:
        enum = without_none(self._subject)
        if not isinstance(enum, Enum) or pattern.id not in names_of(enum):
            return False
        self._broken = True
        message = f"a member of `{enum.name}` is written with its enum"
        help_ = f"`{enum.name}.{pattern.id}`"
        self._report.add("E0333", message, pattern.span, help=help_)
        return True

    def finish(self) -> None:
        """Report values that no case takes."""
        if self._broken or self._rest is not None:
            return
        values = _values(self._subject)
        if values is None:
            message = f"the cases do not cover every `{describe(self._subject)}`"
            self._report.add(
                "E0333", message, self._node.subject.span, help="add `case _:` for what is left"
            )
            return
        missing = [value for value in values if repr(value) not in self._seen]
        if missing:
            shown = " and ".join(f"`{_shown(self._subject, value)}`" for value in missing)
            message = f"no case takes {shown}"
            help_ = "add a case for each, or `case _:` for what is left"
            self._report.add("E0333", message, self._node.subject.span, help=help_)


def _values(type_: Type) -> list[Json] | None:
    """All values of a type; None where they cannot be listed."""
    match type_:
        case Enum() | Choice():
            return list(names_of(type_))
        case Bool():
            return [True, False]
        case Optional(item=item):
            inner = _values(item)
            return None if inner is None else [*inner, None]
    return None


def _shown(type_: Type, value: Json) -> str:
    inner = without_none(type_)
    if isinstance(inner, Enum) and value is not None:
        return f"{inner.name}.{value}"
    return f'"{value}"' if isinstance(value, str) else str(value)

"""What a pass did that a reader of the plan wants to know, or could not do, and why."""

from dataclasses import dataclass, field

from parrotc.ir.source import Span


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark. `code` is that of the diagnostic (`W05…`) whose page explains it, if any."""

    name: str  # of the pass
    message: str
    span: Span | None = field(default=None, compare=False)
    code: str = ""

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        code = f" [{self.code}]" if self.code else ""
        return f"{place}{self.message} ({self.name}){code}"


Remarks = list[Remark]

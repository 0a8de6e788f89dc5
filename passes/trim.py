"""White space at the edges of a message's content, taken off as a trimming template does.

    "  Question: ", %q, "\\n"     both sides ⇒     "Question: ", rstrip(%q + "\\n")

What is constant is trimmed now. Where the outermost text is a value, the values up to the first
text that is not blank are put together and trimmed by a function, so that an empty value uncovers
the white space behind it, as it would in the template. Token ids that are handed over are no edge:
they stay as they are, and so does what comes after them on the way in.
"""

from collections.abc import Sequence

from parrotc.ir.names import Names
from parrotc.ir.ops import Apply, Op, Part, Text, Value, is_handed
from parrotc.ir.source import Span
from parrotc.ir.types import STR
from parrotc.passes.fills import joined

FUNCTIONS = {(True, True): "strip", (True, False): "lstrip", (False, True): "rstrip"}


class Trimmer:
    """Trims the parts of one fill; `ops` are the functions that have to run before it."""

    def __init__(self, names: Names, span: Span | None) -> None:
        self.ops: list[Op] = []
        self._names = names
        self._span = span

    def trim(self, parts: tuple[Part, ...], left: bool, right: bool) -> tuple[Part, ...]:
        """The parts without white space at the asked sides, whatever the values are."""
        handed = [n for n, part in enumerate(parts) if is_handed(part)]
        if handed:
            first, last = handed[0], handed[-1] + 1
            lead, trail = parts[:first], parts[last:]
            lead = self.trim(lead, True, False) if left and lead else lead
            trail = self.trim(trail, False, True) if right and trail else trail
            return joined((*lead, *parts[first:last], *trail))
        solid = [n for n, part in enumerate(parts) if is_solid(part)]
        if not solid:
            return self._function((left, right), parts)
        if left:
            first = solid[0]
            text, blank = _split_left(parts[first])
            lead = self._function((True, False), (*parts[:first], Text(blank)))
            parts = (*lead, text, *parts[first + 1 :])
        if right:
            last = max(n for n, part in enumerate(parts) if is_solid(part))
            text, blank = _split_right(parts[last])
            trail = self._function((False, True), (Text(blank), *parts[last + 1 :]))
            parts = (*parts[:last], text, *trail)
        return joined(parts)

    def _function(self, sides: tuple[bool, bool], parts: Sequence[Part]) -> tuple[Part, ...]:
        """Values and blank texts put together and trimmed; nothing if there is no value."""
        values = tuple(part for part in parts if isinstance(part, Value))
        if not values:
            return () if any(sides) else tuple(parts)
        texts = [""]
        for part in parts:
            if isinstance(part, Text):
                texts[-1] += part.text
            else:
                texts.append("")
        whole = values[0] if texts == ["", ""] else self._apply("format", values, tuple(texts))
        return (self._apply(FUNCTIONS[sides], (whole,)),)

    def _apply(
        self, function: str, args: tuple[Value, ...], texts: tuple[str, ...] | None = None
    ) -> Value:
        result = self._names.fresh("trimmed", STR)
        attrs = () if texts is None else (("texts", texts),)
        op = Apply(results=(result,), function=function, args=args, attrs=attrs, span=self._span)
        self.ops.append(op)
        return result


def is_solid(part: Part) -> bool:
    """Whether a part is text with something in it that trimming stops at."""
    return isinstance(part, Text) and bool(part.text.strip())


def _split_left(part: Part) -> tuple[Text, str]:
    assert isinstance(part, Text)
    bare = part.text.lstrip()
    return Text(bare), part.text[: len(part.text) - len(bare)]


def _split_right(part: Part) -> tuple[Text, str]:
    assert isinstance(part, Text)
    bare = part.text.rstrip()
    return Text(bare), part.text[len(bare) :]

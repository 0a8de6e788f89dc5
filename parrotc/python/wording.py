"""What the checker suggests, in the words of Python: its findings are about both front ends."""

from dataclasses import replace

from parrotc.ir.diagnostic import Diagnostic

_WORDS = (
    (
        "write `break if …`, and nothing around it",
        "write `if …: break` directly in the loop, and nothing else in that `if`",
    ),
    ("`break if …`", "`if …: break`"),
    (
        'put it into a message: `user "…"`',
        'put it into a message: `user("…")`; documentation is a comment',
    ),
    ('`user "…"`', '`user("…")`'),
    ('`assistant "{{gen}}"`', '`assistant("{{gen}}")`'),
    ("`{name: …}`", '`{"name": …}`'),
    ("`300ms`, `2s`, `5m` or `1h`", 'a number of seconds, or `"300ms"`, `"2s"`, `"5m"`, `"1h"`'),
    ("`T?`", "`T | None`"),
    ('`"a" | "b"`', '`Literal["a", "b"]`'),
    ("an `enum`", "an `Enum`"),
    ("declare a `class`", "declare a dataclass"),
    ("types are declared by `class` and `enum`", "an `Enum` or a dataclass is one"),
    ('`= "app.search:find"`', '`@native("app.search:find")`'),
    ("by `model name = …`", "at the top of a file, by `name = model.openai(…)`"),
    ("`const TEXT = ", "`TEXT = "),
    ("an `extern`", "a `@native` function"),
)
_HELP = {
    "E0303": "call it in a function of your own, under `@native`",
    "E0304": "functions are declared by `@native`, `@pfunc` or `@flow`",
}


def in_python(finding: Diagnostic) -> Diagnostic:
    """The finding, with what it notes and suggests in Python."""
    help_ = finding.help or _HELP.get(finding.code, "")
    notes = tuple(_worded(note) for note in finding.notes)
    return replace(finding, notes=notes, help=_worded(help_))


def _worded(text: str) -> str:
    for ours, python in _WORDS:
        text = text.replace(ours, python)
    return text

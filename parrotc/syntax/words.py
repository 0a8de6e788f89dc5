"""Words for people: what tokens are called, and what habits from other languages mean here."""

import re

HEADS = ("import", "from", "const", "model", "enum", "class", "pfunc", "extern", "flow", "test")
"""What may begin a declaration."""

ROLES = ("system", "user", "assistant", "tool")
"""Who may speak in a message."""

UNDECORATED = frozenset({"import", "from", "const", "model"})

_WORDS = "if elif else for in not and or with return break assert pass True False None"
RESERVED = frozenset(_WORDS.split())
"""What can never be a name; grammar.lark says so too."""

_DECLARATION = re.compile(
    r"""@\w|(?:pfunc|flow|enum|class|const|model|extern[ ]+def)[ ]+\w+[ ]*[(:=]|test[ ]+"
        |import[ ]+[\w.]+[ ]*(?:as[ ]+\w+[ ]*)?$|from[ ]+[\w.]+[ ]+import\b""",
    re.MULTILINE | re.VERBOSE,
)


def is_declaration(text: str, at: int) -> bool:
    """Whether a line that may belong to something unclosed is a declaration beyond doubt."""
    return _DECLARATION.match(text, at) is not None


_STATEMENT = "statements belong in a `flow`"

HEAD_HELP = {
    "def": 'did you mean `flow` (calls), `pfunc` (a prompt) or `extern def … = "module:name"`?',
    "async": "a flow runs in parallel by itself: write `flow`",
    "function": "did you mean `flow` (calls) or `pfunc` (a prompt)?",
    "fn": "did you mean `flow` (calls) or `pfunc` (a prompt)?",
    "func": "did you mean `flow` (calls) or `pfunc` (a prompt)?",
    "prompt": "did you mean `pfunc`?",
    "struct": "did you mean `class`?",
    "record": "did you mean `class`?",
    "type": "did you mean `class` or `enum`?",
    "let": "did you mean `const`?",
    "var": "did you mean `const`?",
    "include": "did you mean `import`?",
    "use": "did you mean `import`?",
    "if": _STATEMENT,
    "for": _STATEMENT,
    "while": _STATEMENT,
    "return": _STATEMENT,
    "assert": "assertions belong in a `test`",
    "mock": "mocks belong in a `test`",
    "system": "messages belong in a `pfunc`",
    "user": "messages belong in a `pfunc`",
    "assistant": "messages belong in a `pfunc`",
}
"""Help for a line that begins with a word that begins no declaration."""

STATEMENT_HELP = {
    "while": "repeat with `for round in range(n):` and leave early with `break if done`",
    "def": "declare a `flow`, a `pfunc` or an `extern def` in the first column",
    "lambda": "write a comprehension, or declare an `extern def` in the first column",
    "class": "declare it in the first column",
    "enum": "declare it in the first column",
    "flow": "declare it in the first column",
    "pfunc": "declare it in the first column",
    "const": "a name in a flow needs no keyword: `name = value`",
    "let": "a name in a flow needs no keyword: `name = value`",
    "var": "a name in a flow needs no keyword: `name = value`",
    "import": "import in the first column",
    "from": "import in the first column",
    "try": "tolerate a failed call with `f(x) with (on_error=None)`",
    "except": "tolerate a failed call with `f(x) with (on_error=None)`",
    "raise": "call an `extern def` that raises",
    "continue": "put the rest of the body under `if`",
    "with": "policies follow a call: `f(x) with (n=3)`",
    "yield": "return a list",
    "await": "calls wait for what they need by themselves: leave `await` out",
    "async": "calls run in parallel by themselves: leave `async` out",
    "print": "return the value, or call an `extern def`",
    "del": "leave it out: values are dropped once nothing needs them",
    "is": "compare with `==`",
}
"""Help for a statement or expression word of Python that .pfn does without."""

SIGN_HELP = {
    "#": "a hole has no comments",
    ";": "one statement stands on one line",
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`",
    "“": 'use plain double quotes: `"`',
    "”": 'use plain double quotes: `"`',
    "‘": 'use plain double quotes: `"`',
    "`": 'use double quotes: `"`',
    "//": "write `#` to begin a comment",
    "$": "a name is read as it is, without `$`; in a text it stands in `{{ }}`",
    "\\": "a line goes on by itself inside brackets",
    "&": "write `and`",
    "^": "there is no such operator",
    "~": "write `not`",
}
"""Help for signs that stand for nothing here."""

TOKENS = {
    "NAME": "a name",
    "TEXT": "a text",
    "INT": "a number",
    "FLOAT": "a number",
    "DURATION": "a duration",
    "CONSTANT": "`None`, `True` or `False`",
    "COMPARE": "a comparison",
    "TIMES": "`*`",
    "ROLE": "a message",
    "_NL": "the end of the line",
    "_INDENT": "an indented line",
    "_DEDENT": "the end of the body",
    "JOIN": "`\\`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "DOT": "`.`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "ARROW": "`->`",
    "AT": "`@`",
    "QMARK": "`?`",
    "VBAR": "`|`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "$END": "the end of the hole",
}
"""What a token is called; the name of any other is its keyword."""

VALUE = frozenset(
    {"NAME", "TEXT", "INT", "FLOAT", "DURATION", "CONSTANT", "LPAR", "LSQB", "LBRACE", "MINUS"}
    | {"NOT"}
)
OPERATOR = frozenset(
    {"PLUS", "MINUS", "TIMES", "COMPARE", "AND", "OR", "DOT", "LPAR", "LSQB", "_WITH", "_IF"}
)
_SETS = (
    (frozenset({"TEXT", "ROLE", "_IF", "_FOR", "_PASS"}), "a text", "a message", "`if`", "`for`"),
    (
        VALUE | {"_RETURN", "_FOR", "_IF", "_PASS", "_BREAK", "_ASSERT", "_MOCK", "_MATCH"},
        "a statement",
    ),
    (VALUE, "a value"),
    (frozenset({"NAME", "TEXT", "CONSTANT", "LPAR"}), "a type"),
)


def describe(expected: frozenset[str]) -> str:
    """What could have stood somewhere, for people: "`,` or `)`"; empty if that is too much."""
    left = set(expected)
    names: list[str] = []
    for tokens, *called in _SETS:
        if tokens <= left:
            left -= tokens
            names += called
    if len(OPERATOR & left) > len(OPERATOR) // 2:
        left -= OPERATOR  # a value could have gone on in many ways: only say how it could end
    names += [name for token, name in TOKENS.items() if token in left]
    names += sorted(f"`{token.strip('_').lower()}`" for token in left - TOKENS.keys())
    unique = list(dict.fromkeys(names))
    return one_of([*unique], quote=False) if len(unique) <= 4 else ""


def one_of(words: "list[str] | tuple[str, ...]", quote: bool = True) -> str:
    """`a`, `b` or `c`."""
    shown = [f"`{word}`" for word in words] if quote else list(words)
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)

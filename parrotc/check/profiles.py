"""What endpoints can do beyond answering a list of messages, by kind and name of a model.

Engines of ours can do all of it. Servers that speak OpenAI's protocol differ, and nothing in a
program tells which one it is, so they get the benefit of the doubt: what one cannot do fails when
it runs. OpenAI's own models and Azure's are known.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from parrotc.ir.ops import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`stops`: how many stop texts a request may have. `options`: of those of a `gen` that not
    every endpoint has, the ones it has."""

    endpoint: str  # in a sentence
    prefill: bool  # goes on with what the program put into the assistant's message
    raw: bool  # goes on with a text that is no message
    regex: bool  # keeps to a regular expression
    scored: bool  # tells how probable each answer of a choice was
    stops: int
    options: frozenset[str]


OPTIONS = frozenset({"top_k", "min_p"})

EVERYTHING = Profile(
    endpoint="this engine",
    prefill=True,
    raw=True,
    regex=True,
    scored=True,
    stops=1_000,
    options=OPTIONS,
)
CHAT = Profile(
    endpoint="OpenAI's chat API",
    prefill=False,
    raw=False,
    regex=False,
    scored=False,
    stops=4,
    options=frozenset(),
)

_OWN = ("gpt-[345]*", "chatgpt-*", "o[134]", "o[134]-*")  # OpenAI's, unless served elsewhere


def profile(model: Model) -> Profile:
    """What the endpoint of a model can do."""
    if model.kind == "azure":
        return CHAT
    elsewhere = "base_url" in dict(model.options)
    if model.kind == "openai" and not elsewhere:
        return CHAT if any(fnmatchcase(model.target, name) for name in _OWN) else EVERYTHING
    return EVERYTHING

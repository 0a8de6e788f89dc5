"""Prompts of endpoints that read text: their tokens are characters, and the bounds of messages.

    ⟨user⟩ S u m   u p : … ⟨end⟩ ⟨assistant⟩

Such an endpoint tells no tokenizer. With this alphabet in its place, everything that is done with
tokens (forks, shared prefixes, values that stream in, what is freed when) is done with text as it
is; what costs tokens is counted only when the endpoint has said how many there were.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parrotc.runtime.contexts import Node, Session
from parrotc.runtime.engines.protocol import Finished
from parrotc.runtime.prompts import Encoder, Prompt, Special
from parrotc.runtime.trace import Counters

ROLES = ("system", "user", "assistant", "tool")
_FIRST = 0x110000  # after the last character
_OPENED = {role: _FIRST + number for number, role in enumerate(ROLES)}
_ROLE = {number: role for role, number in _OPENED.items()}
_END = _FIRST + len(ROLES)
_LETTERS = 4  # of a token, where nobody knows better


class Alphabet:
    """Characters as ids. No text encodes to the start or the end of a message."""

    fingerprint = ""  # no tokenizer
    bos: int | None = None
    eos: tuple[int, ...] = ()
    specials: Mapping[str, int] = {}
    vocab_size = _END + 1
    context_length = 1 << 40  # characters: what is too long the endpoint says

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(token) for token in ids if token < _FIRST)

    def stable_prefix(self, text: str) -> list[int]:
        return self.encode(text)

    def token_bytes(self, token: int) -> bytes:
        return self.decode((token,)).encode(errors="replace")


ALPHABET = Alphabet()


class RoughTokens:
    """Stands in for a tokenizer that nobody tells, where tokens are only counted (`truncate`): four
    characters each, as in all estimates."""

    def encode(self, text: str) -> list[int]:
        starts = range(0, len(text), _LETTERS)
        return [_number(text[at : at + _LETTERS]) for at in starts]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(_letters, ids))

    def stable_prefix(self, text: str) -> list[int]:
        return self.encode(text[: len(text) - len(text) % _LETTERS])


def token_counter(tokenizer: Encoder) -> Encoder:
    """What counts a model's tokens: its tokenizer, if it tells one."""
    rough: Encoder = RoughTokens()
    return rough if tokenizer is ALPHABET else tokenizer


def _number(letters: str) -> int:
    """The letters as one number, which begins with a 1 so that none of them is lost."""
    return int.from_bytes(letters.encode("utf-32-le", "surrogatepass") + b"\1", "little")


def _letters(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return raw[:-1].decode("utf-32-le", "surrogatepass")


def rough_count(characters: int) -> int:
    """About how many tokens so many characters are."""
    return -(-characters // _LETTERS)


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a prompt; `role` is empty for a text outside of all messages."""

    role: str
    text: str


def messages(ids: Sequence[int]) -> tuple[Said, ...]:
    """What a prompt says. The last message is the one that a generation goes on with."""
    return tuple(_messages(ids))


def _messages(ids: Sequence[int]) -> Iterator[Said]:
    role, start = "", 0
    for at, token in enumerate(ids):
        if token < _FIRST:
            continue
        if role or at > start:
            yield Said(role, ALPHABET.decode(ids[start:at]))
        role, start = _ROLE.get(token, ""), at + 1
    if role or start < len(ids):
        yield Said(role, ALPHABET.decode(ids[start:]))


def written(said: Sequence[Said]) -> list[int]:
    """The ids of messages: the inverse of `messages`. The last one is not ended."""
    ids: list[int] = []
    for one in said:
        ids += [*((_OPENED[one.role],) if one.role else ()), *ALPHABET.encode(one.text), _END]
    return ids[:-1]


class TextPrompt(Prompt):
    """A prompt whose messages begin and end with an id of their own."""

    __slots__ = ()

    def start_message(self, role: str) -> Prompt:
        return self.fill([Special((_OPENED[role],))])

    def end_message(self) -> Prompt:
        return self.fill([Special((_END,))])

    def share(self) -> None:
        """The engine is told too: calls that share a text should come to one server."""
        super().share()
        node: Node | None = self._head or self.node
        if node is not None:
            node.is_shared = True


class TextSession(Session):
    """Counts what the endpoint says that a generation has cost, and nothing before."""

    def count_filled(self, counters: Counters, nodes: Sequence[Node]) -> None:
        pass

    def count_prompt(self, counters: Counters, node: Node) -> None:
        pass

    def count_answer(self, counters: Counters, finished: Finished) -> None:
        usage = finished.usage
        if usage is not None:
            counters.tokens_generated += usage.generated
            counters.tokens_filled += usage.prompt - usage.cached
            counters.tokens_without_sharing += usage.prompt

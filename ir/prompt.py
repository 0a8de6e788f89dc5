"""What a context has read, as `ir/evaluate.py` keeps it: the meaning of filling, to the id.

A `Prompt` is immutable and knows the one it came from. Text waits (`pending`) until a hard boundary
(token ids, or a generation), because what follows a text may still change its tokens:

    ids of the prompts before ─── own ids ─┐ pending ───────────────┐
    <|im_start|>user Summarise              "\\n\\nThe first part …"   + more text

Before `apply-template` a prompt is a list of messages; its ids are those of the rendered list. The
template is rendered with stand-ins for the contents, split at its special tokens, and the contents
are put where their stand-ins are. So a special token in a content is text, and what a template
does at the edges of a content (some trim it) is done to its white space.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from parrotc.ir.ops import Ids
from parrotc.ir.scalar import Encoder


class Tokenizer(Encoder, Protocol):
    """The part of `passes.target.Tokenizer` that gives a prompt its meaning."""

    @property
    def bos(self) -> int | None: ...

    @property
    def specials(self) -> Mapping[str, int]: ...


class Renderer(Protocol):
    """`passes.target.Renderer`."""

    def __call__(self, messages: list[tuple[str, str]], *, prompt: bool) -> str: ...


class Language(Protocol):
    """The part of `passes.target.ModelTarget` that gives a prompt its meaning."""

    @property
    def tokenizer(self) -> Tokenizer | None: ...

    @property
    def render(self) -> Renderer | None: ...

    @property
    def context_length(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """What was generated, here or in a call that hands it over: the ids that stay, and the end of
    its value as text."""

    ids: tuple[int, ...]
    rest: str


Content = str | Kept


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a list."""

    role: str
    content: tuple[Content, ...] = ()
    is_open: bool = True


@dataclass(eq=False, slots=True)
class Prompt:
    """See above. `has_begun`: ids came first, so no BOS belongs before them."""

    model: str
    tokenizer: Tokenizer
    render: Renderer | None
    parent: "Prompt | None" = None
    own: tuple[int, ...] = ()
    pending: str = ""
    has_begun: bool = False
    messages: tuple[Said, ...] = ()
    is_filled: bool = field(default=False)  # its ids have been counted
    _flushed: "Prompt | None" = field(default=None)

    # --- the next prompt ---

    def read(self, parts: Iterable[str | Ids | Kept]) -> "Prompt":
        """The prompt after texts and ids."""
        if self.messages:
            return self._said(*parts)
        own: list[int] = []
        pending, has_begun = self.pending, self.has_begun
        for part in parts:
            if isinstance(part, str):
                pending += part
                continue
            is_first = isinstance(part, Ids) and not pending  # ids of a template say it all
            own += self._tokenised(pending, has_begun or is_first)
            own += part.ids
            pending, has_begun = "", True
        return self._next(tuple(own), pending, has_begun)

    def start_message(self, role: str) -> "Prompt":
        return replace(self, messages=(*self.messages, Said(role)), _flushed=None)

    def end_message(self) -> "Prompt":
        *before, last = self.messages
        return replace(self, messages=(*before, replace(last, is_open=False)), _flushed=None)

    def generated(self, kept: tuple[int, ...], rest: str) -> "Prompt":
        """The prompt after a generation from this one."""
        if self.messages:
            return self._said(Kept(kept, rest))
        return replace(self.flushed()._next(kept, rest, True), is_filled=True)

    def flushed(self) -> "Prompt":
        """The prompt as a generation sees it: everything is ids. The same one every time."""
        if self._flushed is None:
            if self.messages:
                self._flushed = self._rendered()
            else:
                own = self._tokenised(self.pending, self.has_begun)
                self._flushed = self._next(tuple(own), "", True)
        return self._flushed

    def ids(self) -> tuple[int, ...]:
        return tuple(token for prompt in reversed(list(self._chain())) for token in prompt.own)

    def count_filled(self) -> int:
        """How many ids have to be filled for this prompt that were not filled before."""
        total = 0
        for prompt in self._chain():
            if prompt.is_filled:
                break
            prompt.is_filled = True
            total += len(prompt.own)
        return total

    def _chain(self) -> "Iterator[Prompt]":
        prompt: Prompt | None = self
        while prompt is not None:
            yield prompt
            prompt = prompt.parent

    def _next(self, own: tuple[int, ...], pending: str, has_begun: bool) -> "Prompt":
        return Prompt(self.model, self.tokenizer, self.render, self, own, pending, has_begun)

    def _tokenised(self, text: str, has_begun: bool) -> list[int]:
        bos = self.tokenizer.bos
        start = [] if has_begun or bos is None else [bos]
        return start + (self.tokenizer.encode(text) if text else [])

    # --- messages ---

    def _said(self, *more: str | Ids | Kept) -> "Prompt":
        *before, last = self.messages
        if not last.is_open:
            raise ValueError("text between messages")
        items = tuple(Kept(item.ids, "") if isinstance(item, Ids) else item for item in more)
        said = replace(last, content=(*last.content, *items))
        return replace(self, messages=(*before, said), _flushed=None)

    def _rendered(self) -> "Prompt":
        """The list through the template, then what the open assistant message says so far."""
        if self.render is None:
            raise ValueError(f"the model `{self.model}` has no chat template")
        *before, last = self.messages
        if not last.is_open or last.role != "assistant":
            raise ValueError("a generation outside an assistant message")
        edges = [_edges(said.content) for said in before]
        stand_ins = [
            (said.role, f"{lead}\ue000{n}\ue001{trail}")
            for n, (said, (lead, _, trail)) in enumerate(zip(before, edges, strict=True))
        ]
        text = self.render(stand_ins, prompt=True)
        parts: list[Content] = []
        for piece in _splitter(tuple(self.tokenizer.specials)).split(text):
            if piece in self.tokenizer.specials:
                parts.append(Kept((self.tokenizer.specials[piece],), ""))
            elif piece.startswith("\ue000"):
                parts += edges[int(piece[1:-1])][1]
            else:
                parts.append(piece)
        start = Prompt(self.model, self.tokenizer, self.render, has_begun=True)
        return start.read(_flat((*parts, *last.content))).flushed()


def _flat(content: Iterable[Content]) -> Iterator[str | Ids]:
    for item in content:
        if isinstance(item, Kept):
            yield Ids(item.ids, "")
            yield item.rest
        else:
            yield item


def _edges(content: tuple[Content, ...]) -> tuple[str, tuple[Content, ...], str]:
    """White space at the start, the content without it, white space at the end.

    A generation and the rest of its value are no edge: their ids are fixed.
    """
    first = next((n for n, item in enumerate(content) if isinstance(item, Kept)), len(content))
    last = next(
        (n for n in range(len(content), 0, -1) if isinstance(content[n - 1], Kept)), len(content)
    )
    head = "".join(item for item in content[:first] if isinstance(item, str))
    body = head.lstrip()
    lead = head[: len(head) - len(body)]
    if first == len(content):
        core = body.rstrip()
        return lead, (core,), body[len(core) :]
    tail = "".join(item for item in content[last:] if isinstance(item, str))
    end = tail.rstrip()
    return lead, (body, *content[first:last], end), tail[len(end) :]


@lru_cache(maxsize=64)
def _splitter(specials: tuple[str, ...]) -> re.Pattern[str]:
    """Splits a rendered text into special tokens, stand-ins, and the text between them."""
    longest_first = sorted(specials, key=len, reverse=True)
    return re.compile("|".join(["(\ue000[0-9]+\ue001", *map(re.escape, longest_first)]) + ")")

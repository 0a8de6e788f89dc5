"""The run-time value of a context: what has been read, some of it not tokenised yet.

    node ──────────────────────┐ pending ──────────────┐
    <|im_start|>user Summarise   "\\n\\nThe first part …"   + more text, then a hard boundary

Text up to the next hard boundary is tokenised as one string, because what follows a text may still
change its last tokens (`design/ir.md`, *What the tokens of a prompt are*). When several prompts
go on from one that has pending text, the tokens that no continuation can change become a node of
their own, the *head*, so that a long value is filled once and not for each of them. So are those of
a prompt that is filled early, while something else that it reads is still on its way.

Where a chat template runs late, the prompt is a list of messages, and tokens only after `render`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from parrotc.runtime.contexts import PASSING, UNTOLD, Node, Outlook, Session
from parrotc.runtime.errors import Failed
from parrotc.runtime.trace import Trace

EARLY = 16  # tokens of pending text that are worth a node of their own


class Encoder(Protocol):
    """The part of `runtime.tokenizer.Tokenizer` that prompts need."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...

    def stable_prefix(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Special:
    """Token ids that are fixed, and begin at a hard boundary: of a template, or generated."""

    ids: tuple[int, ...]
    text: str = ""


Part = str | Special


def segments(parts: Iterable[Part], pending: str = "") -> list[str]:
    """What is tokenised when `parts` are read after `pending`: a text up to each hard boundary. The
    last one, after all of them, is pending again."""
    found = [[pending]]
    for part in parts:
        if isinstance(part, str):
            found[-1].append(part)
        else:
            found.append([])
    return ["".join(texts) for texts in found]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: what a template writes around, and what a generation in it gave."""

    role: str
    content: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages so far; `is_open` when the last one goes on.

    `is_rendered`: the tokens of the prompt say all that the messages say.
    """

    items: tuple[Message, ...] = ()
    is_open: bool = False
    is_rendered: bool = True

    def start(self, role: str) -> "Messages":
        return Messages((*self.items, Message(role)), is_open=True, is_rendered=False)

    def end(self) -> "Messages":
        return Messages(self.items, is_rendered=False)

    def read(self, parts: Iterable[Part]) -> "Messages":
        """With more at the end of the open message; what is outside messages is not theirs."""
        if not self.is_open:
            return self
        last = self.items[-1]
        items = (*self.items[:-1], Message(last.role, (*last.content, *parts)))
        return Messages(items, is_open=True, is_rendered=self.is_rendered)


class Prompt:
    """A context's value. Counted like a node: starts with one holder."""

    __slots__ = (
        "_count", "_flushed", "_head", "_head_ids", "_is_shared",
        "encoder", "messages", "model", "node", "outlook", "pending", "session",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        session: Session,
        encoder: Encoder,
        node: Node | None = None,
        pending: str = "",
        messages: Messages | None = None,
    ) -> None:
        """Takes over the caller's hold on `node`."""
        self.model = model
        self.session = session
        self.encoder = encoder
        self.node = node
        self.pending = pending
        self.messages = messages or Messages()
        self.outlook = UNTOLD  # of the nodes that it makes
        self._head: Node | None = None  # below `node`, with the first ids of `pending`
        self._head_ids: tuple[int, ...] = ()
        self._flushed: Node | None = None
        self._is_shared = False
        self._count = 1

    def take(self) -> "Prompt":
        assert self._count > 0, "a prompt is used after its storage went"
        self._count += 1
        return self

    def drop(self) -> None:
        self._count -= 1
        assert self._count >= 0, "a prompt is dropped twice"
        if self._count == 0:
            for node in (self._flushed, self._head, self.node):
                if node is not None:
                    node.drop()

    # --- making the next one ---

    def fill(self, parts: Sequence[Part], outlook: Outlook = UNTOLD) -> "Prompt":
        """The prompt after reading `parts`, of whose own tokens the plan knows `outlook`."""
        messages = self.messages.read(parts)
        if messages.items and not messages.is_rendered:
            return self._next(None, "", messages)
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            prompt = self._going_on("".join(texts), messages)
        else:
            prompt = self._after(parts, messages, outlook)
        prompt.outlook = outlook
        return prompt

    def _going_on(self, text: str, messages: Messages) -> "Prompt":
        """With more pending text: the same node, and the same head."""
        prompt = self._next(self.node and self.node.take(), self.pending + text, messages)
        if self._head is not None:
            prompt._head, prompt._head_ids = self._head.take(), self._head_ids
        return prompt

    def _after(self, parts: Sequence[Part], messages: Messages, outlook: Outlook) -> "Prompt":
        """With at least one hard boundary: a new node, and the text after the last of them."""
        first = next(n for n, part in enumerate(parts) if isinstance(part, Special))
        above, ids = self._boundary("".join(map(str, parts[:first])))
        pending = ""
        for part in parts[first:]:
            if isinstance(part, str):
                pending += part
            else:
                ids += self.encoder.encode(pending) if pending else []
                ids += part.ids
                pending = ""
        node = above.take() if above and not ids else Node(self.session, above, ids, outlook)
        return self._next(node, pending, messages)

    def _boundary(self, text: str) -> tuple[Node | None, list[int]]:
        """Where pending text and `text` end at a hard boundary: a node, and the ids after it."""
        if self._is_shared and not text:
            self.flush().drop()
            return self._flushed, []
        return self._tokenised(self.pending + text)

    def _tokenised(self, segment: str) -> tuple[Node | None, list[int]]:
        """The ids of `segment`, after the head if its ids are still the first ones."""
        ids = self.encoder.encode(segment) if segment else []
        fixed = len(self._head_ids)
        if self._head is not None and tuple(ids[:fixed]) == self._head_ids:
            return self._head, ids[fixed:]
        return self.node, ids

    def flush(self) -> Node:
        """The node of everything read, as a generation sees it, held for the caller. Made once."""
        if self._flushed is None:
            above, ids = self._tokenised(self.pending)
            if above is None or ids:
                self._flushed = Node(self.session, above, ids, self.outlook)
            else:
                self._flushed = above.take()
        return self._flushed.take()

    def share(self) -> None:
        """Several prompts will go on from this one: give the ids that are certain a node."""
        self._is_shared = True
        self._fix_head()

    def begin(self, trace: Trace, *, at_once: bool = False) -> None:
        """Fill what is certain early: see `Node.begin`."""
        self._fix_head()
        node = self._head or self.node
        if node is not None:
            node.begin(trace, at_once=at_once)

    def with_head_of(self, other: "Prompt") -> "Prompt":
        """This prompt, going on through the head of one that has read more."""
        prompt = self._next(self.node and self.node.take(), self.pending, self.messages)
        if other._head is not None:
            prompt._head, prompt._head_ids = other._head.take(), other._head_ids
        return prompt

    def _fix_head(self) -> None:
        """Give the ids of pending text that are certain a node, where they are worth one."""
        if not self.pending or self.is_message_list():
            return
        ids = tuple(self.encoder.stable_prefix(self.pending))
        fixed = len(self._head_ids)
        if len(ids) - fixed < EARLY or ids[:fixed] != self._head_ids:
            return
        head = Node(self.session, self._head or self.node, ids[fixed:], self.outlook)
        if self._head is not None:
            self._head.drop()
        self._head, self._head_ids = head, ids

    def generated(self, node: Node, kept: tuple[int, ...], rest: str) -> "Prompt":
        """The prompt after a generation: `node` has the ids that are kept, `rest` is text again."""
        prompt = self._next(node, rest, self.messages.read((Special(kept), rest)))
        prompt.outlook = PASSING if self.outlook.is_passing else UNTOLD
        return prompt

    def start_message(self, role: str) -> "Prompt":
        return self._next(None, "", self.messages.start(role))

    def end_message(self) -> "Prompt":
        return self._next(None, "", self.messages.end())

    def rendered(self, parts: Sequence[Part]) -> "Prompt":
        """The prompt whose tokens are `parts`, the template's text for all its messages."""
        fresh = Prompt(self.model, self.session, self.encoder)
        filled = fresh.fill(parts)
        fresh.drop()
        filled.messages = Messages(self.messages.items, self.messages.is_open)
        return filled

    def _next(self, node: Node | None, pending: str, messages: Messages) -> "Prompt":
        return type(self)(self.model, self.session, self.encoder, node, pending, messages)

    # --- what a generation asks ---

    def is_message_list(self) -> bool:
        """Whether this is a list of messages that no template has turned into tokens."""
        return bool(self.messages.items) and not self.messages.is_rendered

    def check_tokens(self) -> None:
        """Raises `Failed` where there are only messages."""
        if self.is_message_list():
            raise Failed(
                "E0610",
                f"the model `{self.model}` reads messages, and this engine reads tokens",
                help="compile the program for a model with a chat template",
            )

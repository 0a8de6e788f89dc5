"""One running generation: what it has said, and how its next token is chosen."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from parrotc.runtime.engines.embedded.grammar import Matcher
from parrotc.runtime.engines.embedded.kv import Node
from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.embedded.sampler import choose
from parrotc.runtime.engines.protocol import EngineError, Finished, GenerateRequest, Piece

Post = Callable[[Piece | Finished | EngineError], None]  # to the caller, from any thread


@dataclass(eq=False)
class Generation:
    """`fed` of its tokens have gone through the model; `hidden` is the state after the last."""

    request: GenerateRequest
    parent: Node
    output: Output
    matcher: Matcher | None
    ends: tuple[int, ...]  # ids that end a turn
    room: int  # how many tokens there may be, by the limit and by the model's context
    post: Post
    fed: int = 0
    hidden: Tensor | None = None
    token: int = field(default=-1, init=False)

    @property
    def needs_logits(self) -> bool:
        """Whether more is needed than the best token."""
        return self.matcher is not None or self.request.sampling.temperature > 0

    def choose(self, logits: Tensor) -> int:
        """The next token, from logits `[vocab]`."""
        if self.matcher is not None:
            logits = self.matcher.mask(logits)
        return choose(logits, self.request.sampling, len(self.output.ids))

    def take(self, token: int) -> str | None:
        """Read the token that was chosen. Gives the reason when it was the last."""
        if token in self.ends:
            return "constraint" if self.matcher else "end"
        self.token = token
        text = self.output.push(token)
        if self.matcher is not None:
            self.matcher.push(token)
        if text:
            self.post(Piece(text))
        if self.matcher is not None and self.matcher.is_complete:
            return "constraint"
        if self.output.is_stopped:
            return "stop"
        return "length" if len(self.output.ids) >= self.room else None

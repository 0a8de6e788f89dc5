"""One running generation: how its next token is drawn, what it has said, when it ends.

    generation = Generation(request, tokenizer, grammars, prompt=…, room=…, post=…)
    (drawn,) = draw_batch(logits, [generation])
    reason = generation.take(drawn)

It knows nothing of memory: where its tokens are kept, and how many of them have been through the
model, is for whoever runs it.
"""

from collections.abc import Callable, Iterable, Sequence

from parrotc.runtime.engines.embedded.grammar import Grammars
from parrotc.runtime.engines.embedded.output import Output
from parrotc.runtime.engines.embedded.penalties import Penalties
from parrotc.runtime.engines.embedded.sampler import Draw
from parrotc.runtime.engines.protocol import (
    EngineError,
    Finished,
    GenerateRequest,
    Piece,
    TokenLogprob,
)
from parrotc.runtime.tokenizer import Tokenizer

Post = Callable[[Piece | Finished | EngineError], None]  # to the caller, from any thread


class Generation:
    """Implements `sampler.Row`. `room` is how many tokens there may be by the model's context.

    `prompt` gives all tokens before the first; it is asked only where a penalty looks at them.
    Raises `EngineError` for a constraint that cannot be used.
    """

    def __init__(
        self,
        request: GenerateRequest,
        tokenizer: Tokenizer,
        grammars: Grammars,
        *,
        prompt: Callable[[], Iterable[int]],
        room: int,
        post: Post,
    ) -> None:
        sampling, constraint = request.sampling, request.constraint
        self.request = request
        self.sampling = sampling
        self.post = post
        self.room = min(room, sampling.max_tokens)
        self.matcher = grammars.matcher(constraint) if constraint else None
        self.output = Output(tokenizer, () if constraint else sampling.stop, sampling.min_tokens)
        self.penalties: Penalties | None = None
        if sampling.has_penalties:
            looks_back = sampling.repetition_penalty != 1.0
            self.penalties = Penalties(sampling, prompt() if looks_back else (), self.room)
        self.token = -1  # the last one
        self.logprobs: list[TokenLogprob] = []
        self._ends = tokenizer.eos
        self._stop_ids = () if constraint else sampling.stop_ids

    @property
    def position(self) -> int:
        """How many tokens it has."""
        return len(self.output.ids)

    @property
    def banned(self) -> Sequence[int]:
        """Ids that may not be drawn now."""
        if self.position < self.sampling.min_tokens:
            return (*self._ends, *self._stop_ids)
        if self.sampling.ignore_eos:
            return [token for token in self._ends if token not in self._stop_ids]
        return ()

    def take(self, drawn: Draw | EngineError) -> str | None:
        """Read the token that was drawn. Gives the reason when it was the last, and raises what
        went wrong."""
        if isinstance(drawn, EngineError):
            raise drawn
        token = drawn.token
        if token in self._stop_ids:
            return "stop"
        if token in self._ends:
            return "constraint" if self.matcher else "end"
        self.token = token
        if drawn.logprob is not None:
            self.logprobs.append(drawn.logprob)
        if self.penalties is not None:
            self.penalties.push(token)
        piece = self.output.push(token)
        if self.matcher is not None:
            self.matcher.push(token)
        if piece.text:
            self.post(piece)
        if self.matcher is not None and self.matcher.is_complete:
            return "constraint"
        if self.output.is_stopped:
            return "stop"
        return "length" if self.position >= self.room else None

    def finished(self, reason: str) -> tuple[Piece, Finished]:
        """What is left to show, which may be nothing, and the end."""
        return self.output.finished(reason, tuple(self.logprobs))

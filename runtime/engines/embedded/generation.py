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
    What was said elsewhere (`GenerateRequest.said`) is told at once. Raises `EngineError` for a
    constraint that cannot be used, and where nothing can go on from what was said.
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
        self.tokens: list[int] = []  # those of the last `take`
        self.forced = 0  # tokens that nobody had to draw
        self.logprobs: list[TokenLogprob] = []
        self._ends = tokenizer.eos
        self._stop_ids = () if constraint else sampling.stop_ids
        if request.said:
            self._repeat(request.said)

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
        """Read the token that was drawn, and those after it that the grammar leaves no choice of.
        Gives the reason when the last of all is among them, and raises what went wrong."""
        if isinstance(drawn, EngineError):
            raise drawn
        token = drawn.token
        self.tokens.clear()
        if token in self._stop_ids:
            return "stop"
        if token in self._ends:
            return "constraint" if self.matcher else "end"
        if drawn.logprob is not None:
            self.logprobs.append(drawn.logprob)
        self._push(token)
        reason = self._reason()
        for forced in () if reason else self._forced():
            self._push(forced)
            self.forced += 1
            reason = self._reason()
            if reason:
                break
        return reason

    def _forced(self) -> Sequence[int]:
        """What must come next. How probable it is can only be said after a step of the model."""
        if self.matcher is None or self.sampling.logprobs >= 0:
            return ()
        return self.matcher.forced()

    def _reason(self) -> str | None:
        if self.matcher is not None and self.matcher.is_complete:
            return "constraint"
        if self.output.is_stopped:
            return "stop"
        return "length" if self.position >= self.room else None

    def _repeat(self, said: Sequence[int]) -> None:
        if self.sampling.logprobs >= 0:
            raise EngineError(
                "invalid", "how probable tokens were that were said elsewhere is lost"
            )
        if len(said) >= self.room:
            raise EngineError("invalid", f"{len(said):,} tokens were said, and there is no room")
        for token in said:
            self._push(token)

    def _push(self, token: int) -> None:
        self.tokens.append(token)
        if self.penalties is not None:
            self.penalties.push(token)
        piece = self.output.push(token)
        if self.matcher is not None:
            self.matcher.push(token)
        if piece.text:
            self.post(piece)

    def finished(self, reason: str) -> tuple[Piece, Finished]:
        """What is left to show, which may be nothing, and the end."""
        return self.output.finished(reason, tuple(self.logprobs))

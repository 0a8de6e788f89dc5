"""One generation: from a prompt to a typed value and the context after it."""

import asyncio
from dataclasses import asdict

from parrotc.ir.scalar import Spoken
from parrotc.ir.schema import Constraint as TypeConstraint
from parrotc.ir.schema import constraint_of, read, scored
from parrotc.ir.tokenhash import draw_key
from parrotc.ir.types import Json, Scored, Type
from parrotc.runtime.answers import Question
from parrotc.runtime.contexts import Node
from parrotc.runtime.engines.protocol import (
    Constraint,
    EngineError,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.errors import Failed
from parrotc.runtime.prompts import Prompt
from parrotc.runtime.steps import Generate
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import PieceSink

_FREE = TypeConstraint()


async def generate(
    step: Generate,
    prompt: Prompt,
    *,
    type_: Type,
    seed: int,
    path: tuple[int, ...],
    limit: int | None,
    trace: Trace,
    sink: PieceSink | None,
    hands: bool = False,
) -> tuple[Prompt, Json]:
    """The prompt after the generation, held for the caller, and the value. Raises `Failed`.

    `limit` caps free text only: a structured value that is cut is no value. With `hands`, a text
    comes with the ids it was generated as.
    """
    prompt.check_tokens()
    wanted = constraint_of(type_)
    max_tokens = min(step.max_tokens, limit) if limit and wanted == _FREE else step.max_tokens
    sampling = _sampling(step, max_tokens, _key(step, seed, path))
    constraint = None if wanted == _FREE else Constraint(**asdict(wanted))
    deadline = step.notes.get("deadline")
    try:
        async with asyncio.timeout(deadline):
            finished, node = await _answered(step, prompt, sampling, constraint, path, trace, sink)
    except EngineError as error:
        raise _engine_failed(error) from None
    except TimeoutError:
        raise Failed(
            "E0612", f"the call is not done within its deadline of {deadline:g} s"
        ) from None
    try:
        value = _value(type_, finished, max_tokens)
    except Failed:
        node.drop()
        raise
    kept = finished.ids[: finished.kept]
    if hands and value == finished.text:  # `rest`, whose token was cut, is tokenised anew
        value = Spoken.of(value, (*kept, *prompt.encoder.encode(finished.rest)))
    return prompt.generated(node, kept, finished.rest), value


async def _answered(
    step: Generate,
    prompt: Prompt,
    sampling: Sampling,
    constraint: Constraint | None,
    path: tuple[int, ...],
    trace: Trace,
    sink: PieceSink | None,
) -> tuple[Finished, Node]:
    """What the model says, or said before where the call may be cached; the node after it is held
    for the caller."""
    node = prompt.flush()
    try:
        node.check_length(1)
        ttl = step.notes.get("cache_ttl")
        question = Question(node.digest, sampling, constraint)
        known = prompt.session.answers.find(question, ttl) if ttl is not None else None
        if known is not None:
            _repeat(known, step.site, path, trace, sink)
            return known, Node(prompt.session, node, known.ids[: known.kept])
        async with prompt.session.room:
            finished, after = await _run(
                step, prompt, node, sampling, constraint, path, trace, sink
            )
        if ttl is not None:
            prompt.session.answers.keep(question, finished)
        return finished, after
    finally:
        node.drop()


def _repeat(
    known: Finished, site: str, path: tuple[int, ...], trace: Trace, sink: PieceSink | None
) -> None:
    """Tell of a call that is done without the engine."""
    trace.tell("started", site, path)
    trace.tell("text", site, path, known.text)
    if sink is not None:
        sink(Piece(known.text, known.ids[: known.kept]))
    trace.counters.calls_done += 1
    trace.tell("finished", site, path)


async def _run(
    step: Generate,
    prompt: Prompt,
    node: Node,
    sampling: Sampling,
    constraint: Constraint | None,
    path: tuple[int, ...],
    trace: Trace,
    sink: PieceSink | None,
) -> tuple[Finished, Node]:
    """Fill what the prompt needs and generate."""
    context = await node.ensure(trace)
    trace.counters.tokens_without_sharing += node.length - node.generated_length
    request = GenerateRequest(
        context=prompt.session.new_context(),
        parent=context,
        sampling=sampling,
        constraint=constraint,
        rank=float(step.notes.get("rank", 0.0)),
        latency=step.notes.get("criteria") == "latency",
    )
    finished = await _stream(request, prompt, step.site, path, trace, sink)
    return finished, Node.generated(node, request.context, finished.ids[: finished.kept])


def _key(step: Generate, seed: int, path: tuple[int, ...]) -> int:
    if step.temperature == 0.0:
        return 0
    if step.seed is not None:
        return draw_key(step.seed, "", path)
    return draw_key(seed, step.site, path)


def _sampling(step: Generate, max_tokens: int, key: int) -> Sampling:
    return Sampling(
        max_tokens=max_tokens,
        temperature=step.temperature,
        top_p=step.top_p,
        top_k=step.top_k,
        min_p=step.min_p,
        stop=step.stop,
        key=key,
    )


async def _stream(
    request: GenerateRequest,
    prompt: Prompt,
    site: str,
    path: tuple[int, ...],
    trace: Trace,
    sink: PieceSink | None,
) -> Finished:
    """Run the generation to its end. Leaving early, in whatever way, drops its context."""
    counters = trace.counters
    counters.calls_running += 1
    trace.tell("started", site, path)
    pieces = prompt.session.engine.generate(request)
    finished: Finished | None = None
    try:
        async for piece in pieces:
            if isinstance(piece, Piece):
                trace.tell("text", site, path, piece.text)
                if sink is not None:
                    sink(piece)
            else:
                finished = piece
    except BaseException:
        if finished is not None:  # while the engine tidied up: its context is there
            prompt.session.discard(request.context)
        raise
    finally:
        counters.calls_running -= 1
        if finished is None:
            counters.calls_failed += 1
            trace.tell("failed", site, path)
            await _close(pieces)
    if finished is None:
        raise EngineError("internal", "the generation ended without a result")
    counters.calls_done += 1
    counters.tokens_generated += len(finished.ids)
    trace.tell("finished", site, path)
    return finished


async def _close(pieces: object) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()


def _value(type_: Type, finished: Finished, max_tokens: int) -> Json:
    if finished.reason == "length" and constraint_of(type_) != _FREE:
        raise Failed(
            "E0605",
            f"the output was cut by its limit of {max_tokens:,} tokens before it was a whole"
            f" `{type_}`",
            help="raise `max_tokens`, or let it try again with `@retry(…)`",
        )
    try:
        value = read(type_.item if isinstance(type_, Scored) else type_, finished.text)
    except ValueError as error:
        raise Failed("E0605", f"the output is not a `{type_}`: {error}") from None
    return scored(value, finished.scores) if isinstance(type_, Scored) else value


def _engine_failed(error: EngineError) -> Failed:
    if error.code == "context_length":
        return Failed("E0604", f"the prompt does not fit into the model's context: {error}")
    return Failed("E0608", f"the engine failed: {error}", notes=(f"its code is {error.code}",))

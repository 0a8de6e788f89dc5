"""One generation: from a prompt to a typed value and the context after it."""

import asyncio
from dataclasses import dataclass, replace

from parrotc.ir.scalar import Spoken
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
    Hints,
    Piece,
    Sampling,
    new_context,
)
from parrotc.runtime.errors import Failed
from parrotc.runtime.goals import Goal
from parrotc.runtime.longtexts import LONG, beforehand
from parrotc.runtime.prompts import Prompt
from parrotc.runtime.steps import Generate
from parrotc.runtime.terms import PLAIN, Terms
from parrotc.runtime.trace import Trace
from parrotc.runtime.variables import PieceSink

_FREE = Constraint()


@dataclass(frozen=True, slots=True)
class Crowd:
    """The generations of one map, which are waited for together: `size` of them, at `path`."""

    path: tuple[int, ...] = ()
    size: int = 1


ALONE = Crowd()


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Where a generation stands in its run, and who watches it.

    `together` are the generations of the plan in its group, each as often as `crowd` says.
    """

    path: tuple[int, ...]
    trace: Trace
    sink: PieceSink | None = None
    terms: Terms = PLAIN
    crowd: Crowd = ALONE
    together: int = 1


async def generate(
    step: Generate,
    prompt: Prompt,
    *,
    type_: Type,
    seed: int,
    here: Here,
    limit: int | None,
    hands: bool = False,
) -> tuple[Prompt, Json]:
    """The prompt after the generation, held for the caller, and the value. Raises `Failed`.

    `limit` caps free text only: a structured value that is cut is no value. With `hands`, a text
    comes with the ids it was generated as.
    """
    prompt.check_tokens()
    wanted = constraint_of(type_)
    sampling = _sampling(step, here.terms, limit if wanted == _FREE else None)
    sampling = replace(sampling, key=_key(step, sampling, seed, here))
    constraint = None if wanted == _FREE else wanted
    deadline = step.notes.get("deadline")
    try:
        async with asyncio.timeout(deadline):
            finished, node = await _answered(step, prompt, sampling, constraint, here)
    except EngineError as error:
        raise _engine_failed(error) from None
    except TimeoutError:
        raise Failed(
            "E0612", f"the call is not done within its deadline of {deadline:g} s"
        ) from None
    try:
        value = _value(type_, finished, sampling.max_tokens)
    except Failed:
        node.drop()
        raise
    kept = finished.ids[: finished.kept]
    if hands and value == finished.text:  # `rest`, whose token was cut, is tokenised anew
        value = Spoken.of(value, (*kept, *prompt.encoder.encode(finished.rest)))
    return prompt.generated(node, kept, finished.rest), value


async def _flushed(prompt: Prompt) -> Node:
    if len(prompt.pending) <= LONG:
        return prompt.flush()
    async with beforehand(prompt.encoder, [prompt.pending]):
        return prompt.flush()


async def _answered(
    step: Generate,
    prompt: Prompt,
    sampling: Sampling,
    constraint: Constraint | None,
    here: Here,
) -> tuple[Finished, Node]:
    """What the model says, or said before where that may stand for it; the node after it is held
    for the caller."""
    memory = here.terms.memory
    node = await _flushed(prompt)
    try:
        node.check_length(1)
        ttl = step.notes.get("cache_ttl")
        asked = None if ttl is None else (Question(node.digest, sampling, constraint), ttl)
        known = memory.generation(step.site, here.path, node.digest) if memory else None
        is_kept = known is not None
        if known is None and asked is not None:
            known = prompt.session.answers.find(*asked)
        if known is not None:
            _repeat(known, step.site, here)
            finished, after = known, Node(prompt.session, node, known.ids[: known.kept])
        else:
            async with prompt.session.room:
                finished, after = await _run(step, prompt, node, sampling, constraint, here)
            if asked is not None:
                prompt.session.answers.keep(asked[0], finished)
        if memory is not None and not is_kept:
            try:
                await memory.keep_generation(step.site, here.path, node.digest, finished)
            except BaseException:
                after.drop()
                raise
        return finished, after
    finally:
        node.drop()


def _repeat(known: Finished, site: str, here: Here) -> None:
    """Tell of a call that is done without the engine."""
    here.trace.tell("started", site, here.path)
    here.trace.tell("text", site, here.path, known.text)
    if here.sink is not None:
        here.sink(Piece(known.text, known.ids[: known.kept]))
    here.trace.counters.calls_done += 1
    here.trace.tell("finished", site, here.path)


async def _run(
    step: Generate,
    prompt: Prompt,
    node: Node,
    sampling: Sampling,
    constraint: Constraint | None,
    here: Here,
) -> tuple[Finished, Node]:
    """Fill what the prompt needs and generate."""
    context = await node.ensure(here.trace)
    prompt.session.count_prompt(here.trace.counters, node)
    request = GenerateRequest(
        context=new_context(),
        parent=context,
        sampling=sampling,
        constraint=constraint,
        rank=float(step.notes.get("rank", 0.0)) + here.terms.after,
        latency=step.notes.get("criteria") == "latency",
        hints=_hints(step, here),
        title=f"{step.function}.{step.name}" if step.name else step.function,
    )
    finished = await _stream(request, prompt, step.site, here)
    return finished, Node.generated(node, request.context, finished.ids[: finished.kept])


# --- how it is drawn, and how it is scheduled ---


def _sampling(step: Generate, terms: Terms, limit: int | None) -> Sampling:
    """As the run says, or else the plan; without the key."""
    sampling = terms.samplings.get(step.site) or Sampling(
        max_tokens=step.max_tokens,
        temperature=step.temperature,
        top_p=step.top_p,
        top_k=step.top_k,
        min_p=step.min_p,
        stop=step.stop,
    )
    return replace(sampling, max_tokens=min(sampling.max_tokens, limit)) if limit else sampling


def _key(step: Generate, sampling: Sampling, seed: int, here: Here) -> int:
    if sampling.temperature == 0.0:
        return 0
    if step.seed is not None:
        return draw_key(step.seed, "", here.path)
    seed, site = here.terms.seeds.get(step.site, (seed, step.site))
    return draw_key(seed, site, here.path)


def _hints(step: Generate, here: Here) -> Hints:
    """The run's hints with this generation's place; there are none where nobody schedules."""
    hints = here.terms.hints
    if not hints.application:
        return hints
    size, group = here.together * here.crowd.size, hints.group
    if size > 1:
        path = ".".join(map(str, here.crowd.path))
        group = f"{hints.application}/{step.notes.get('group')}/{path}"
    else:
        size = hints.group_size
    criteria, target = _goal(step, here.terms, size).choice()
    depth = step.notes.get("depth")
    depth = hints.depth + (depth if isinstance(depth, int) else 0)
    return replace(
        hints, group=group, group_size=size, depth=depth, criteria=criteria, target=target
    )


def _goal(step: Generate, terms: Terms, group_size: int) -> Goal:
    """Of several that are waited for together only the last counts, so none of them hurries."""
    if terms.goal is None:
        return _planned(step, terms.hints.begun)
    is_last = step.notes.get("rank", 0.0) <= step.notes.get("cost", 0.0)
    goal = terms.goal if is_last else terms.goal.upstream()
    return replace(goal, latency=False, ttft=None) if group_size > 1 else goal


def _planned(step: Generate, begun: float) -> Goal:
    """What the compiler worked out. Latency is what is asked where nothing more exact is."""
    notes = step.notes
    due = notes.get("due")
    goal = Goal(
        ttft=notes.get("ttft"),
        tpot=notes.get("tpot"),
        deadline=None if due is None else begun + due,
    )
    return goal if goal != Goal() else Goal(latency=notes.get("criteria") == "latency")


async def _stream(request: GenerateRequest, prompt: Prompt, site: str, here: Here) -> Finished:
    """Run the generation to its end. Leaving early, in whatever way, drops its context."""
    trace, path = here.trace, here.path
    counters = trace.counters
    counters.calls_running += 1
    trace.tell("started", site, path)
    pieces = prompt.session.engine.generate(request)
    finished: Finished | None = None
    try:
        async for piece in pieces:
            if isinstance(piece, Piece):
                trace.tell("restart" if piece.restart else "text", site, path, piece.text)
                if here.sink is not None:
                    here.sink(piece)
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
    prompt.session.count_answer(counters, finished)
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
    notes = tuple(getattr(error, "__notes__", ()))
    if error.code == "unrecorded":
        help_ = "record it, with --record, on the engine that is to answer"
        return Failed("E0620", str(error), notes=notes, help=help_)
    notes = (f"its code is {error.code}", *notes)
    return Failed("E0608", f"the engine failed: {error}", notes=notes)

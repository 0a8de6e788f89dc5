"""What the interpreter works out about a plan's steps once, before any run.

For each step: what it reads, and which contexts it or its regions hold until it is done, so that a
`free` can wait for them. For each context: whether several prompts go on from it. For each fill
that `stream-through` marked: the generated value that flows into it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from parrotc.runtime.steps import (
    AnyStep,
    Apply,
    Attempt,
    Block,
    Fill,
    Fold,
    Free,
    Generate,
    If,
    Map,
    Native,
    ValuePart,
    blocks,
    reads,
    walk,
)


@dataclass(frozen=True, slots=True)
class Item:
    """A step with what is known of it. `calls` are the generations directly in its regions."""

    step: AnyStep
    reads: tuple[str, ...]
    holds: tuple[str, ...]  # contexts freed in this block that the step makes or uses
    regions: tuple["Code", ...]
    has_effect: bool
    is_quick: bool  # needs no waiting but for its operands
    streams: str | None = None  # the text that is filled while it is still being generated


@dataclass(frozen=True, slots=True)
class Code:
    """A block, ready to run. `calls` counts the generations it starts itself, without loops."""

    block: Block
    items: tuple[Item, ...]
    calls: int
    has_effect: bool
    shared: frozenset[str]  # contexts of this block that several prompts go on from
    hands: bool  # some text, here or in a region, is read as the ids it was generated as
    groups: Mapping[int, int] = field(default_factory=dict)  # of a whole flow: group → its size


def prepare(block: Block) -> Code:
    groups = Counter(
        step.notes["group"]
        for step in walk(block)
        if isinstance(step, Generate) and "group" in step.notes
    )
    return replace(_prepare(block)[0], groups=groups)


def _prepare(block: Block) -> tuple[Code, Counter[str]]:
    """The code of a block, and how often it uses each name of the regions around it."""
    freed = {step.context for step in block.steps if isinstance(step, Free)}
    uses: Counter[str] = Counter(block.yields)
    handed = dict(_handed(block))
    items: list[Item] = []
    for step in block.steps:
        inner = [_prepare(region) for region in blocks(step)]
        used = _uses(step, [names for _, names in inner])
        if not isinstance(step, Free):
            uses.update(used)
        regions = tuple(code for code, _ in inner)
        items.append(
            Item(
                step=step,
                reads=reads(step),
                holds=tuple(name for name in {*used, *step.results} if name in freed),
                regions=regions,
                has_effect=_has_effect(step, regions),
                is_quick=not isinstance(step, Generate | Native | Map | Fold | If | Attempt),
                streams=_streamed(step, handed),
            )
        )
    own = {*block.params, *(name for step in block.steps for name in step.results)}
    code = Code(
        block=block,
        items=tuple(items),
        calls=sum(isinstance(step, Generate) for step in block.steps),
        has_effect=any(item.has_effect for item in items),
        shared=frozenset(name for name in own if uses[name] > 1),
        hands=bool(handed) or any(inner.hands for item in items for inner in item.regions),
    )
    for name in own:
        del uses[name]
    return code, uses


def _uses(step: AnyStep, inner: list[Counter[str]]) -> Counter[str]:
    """How often a step uses each name; once more than once is enough to know."""
    uses = Counter(reads(step))
    match step:
        case Map() | Fold():
            uses.update({name: 2 for name in inner[0]})
        case If():
            uses.update(inner[0] | inner[1])  # only one branch runs
        case Attempt():
            uses.update(inner[0])
    return uses


def _handed(block: Block) -> Iterator[tuple[str, str]]:
    """The ids of texts that a block asks for, and the texts."""
    for step in block.steps:
        if isinstance(step, Apply) and step.function == "ids":
            yield step.results[0], step.args[0]


def _streamed(step: AnyStep, handed: Mapping[str, str]) -> str | None:
    """The text that flows into a fill: its first part, or what that part's ids are of."""
    if not isinstance(step, Fill) or not step.notes.get("stream") or not step.parts:
        return None
    first = step.parts[0]
    return handed.get(first.value, first.value) if isinstance(first, ValuePart) else None


def _has_effect(step: AnyStep, regions: tuple[Code, ...]) -> bool:
    if isinstance(step, Native):
        return step.effect
    return any(code.has_effect for code in regions)

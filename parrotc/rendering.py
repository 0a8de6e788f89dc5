"""The exact prompt of a semantic function, to the token, as the reference meaning gives it.

The function is called once in a flow made for it, with its inputs as constants, and evaluated. A
free text is generated empty; where the prompt goes on after it, the tokens are the ones that come
after any text. A choice or other constrained value is a made-up one, since the prompt after it may
depend on it; it is shown as a place to generate all the same.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from parrotc.ir.diagnostic import CompileError, Diagnostic
from parrotc.ir.evaluate import Failure, Seen, evaluate
from parrotc.ir.ops import (
    Block,
    Call,
    Const,
    Flow,
    Function,
    Generate,
    Module,
    Op,
    Value,
    blocks,
    walk,
    with_blocks,
)
from parrotc.ir.schema import constraint_of, problem
from parrotc.ir.types import STR, Json
from parrotc.passes.target import Target, Tokenizer

SITE = "render"


@dataclass(frozen=True)
class Piece:
    """A part of a prompt: tokens, one special token, or (no tokens) a place to generate.

    Each token comes with a text of its own, which is not readable where a character spans several.
    """

    text: str
    tokens: tuple[tuple[int, str], ...] = ()
    is_special: bool = False


def render(
    module: Module, function: Function, args: Mapping[str, Json], target: Target
) -> list[Piece]:
    """The prompt of `function` on the model that the module calls it on.

    Raises `CompileError` for inputs that are missing, unknown or of a wrong type, and for a model
    whose prompts are texts and have no tokens.
    """
    _check(function, args)
    model = _model(module, function)
    tokenizer = target.models[model].tokenizer
    if tokenizer is None:
        raise CompileError(
            [
                Diagnostic(
                    "E0610",
                    f"the model `{model}` takes messages, so its prompts have no tokens here",
                    help="render it for another model, as in --engine embedded",
                )
            ]
        )
    alone = replace(
        module,
        functions=(replace(function, body=_silent(function.body)),),
        flows=(_flow(function, model, args),),
    )
    found = evaluate(alone, SITE, {}, target=target, natives={})
    if not found.sequences and found.failure is not None:
        raise CompileError([_diagnostic(found.failure)])
    names = {f"{SITE}/{op.site}": op.name for op in _generations(function)}
    seen = [(names[site], one) for (site, _), one in found.sequences.items()]
    return list(_pieces(seen, tokenizer))


def _check(function: Function, args: Mapping[str, Json]) -> None:
    params = {param.name: param for param in function.body.params[1:]}
    takes = f"`{function.name}` takes {', '.join(map(str, params)) or 'no inputs'}"
    wrong = [f"`{function.name}` has no input `{name}`" for name in args if name not in params]
    wrong += [f"the input `{name}` is missing" for name in params if name not in args]
    for name in params.keys() & args.keys():
        found = problem(params[name].type, args[name])
        if found:
            wrong.append(f"{name}{found}" if found[0] in ".[" else f"{name}: {found}")
    if wrong:
        raise CompileError(Diagnostic("E0607", message, notes=(takes,)) for message in wrong)


def _model(module: Module, function: Function) -> str:
    """The model of the first call of the function; of a function nobody calls, the first model."""
    calls = (op for flow in module.flows for op in walk(flow.body) if isinstance(op, Call))
    called = next((op.model for op in calls if op.function == function.name), None)
    return called or module.models[0].name


def _flow(function: Function, model: str, args: Mapping[str, Json]) -> Flow:
    consts = [
        Const(results=(param,), json=json.dumps(args[param.name]))
        for param in function.body.params[1:]
    ]
    result = Value("rendered", STR)
    call = Call(
        results=(result,),
        function=function.name,
        args=function.body.params[1:],
        model=model,
        site=SITE,
    )
    return Flow(SITE, (), Block((), (*consts, call), (result,)))


def _silent(block: Block) -> Block:
    """The block with every free text generated empty."""
    return replace(block, ops=tuple(map(_silent_op, block.ops)))


def _silent_op(op: Op) -> Op:
    if isinstance(op, Generate) and constraint_of(op.results[1].type) == constraint_of(STR):
        return replace(op, max_tokens=0)
    return with_blocks(op, tuple(map(_silent, blocks(op))))


def _generations(function: Function) -> Iterator[Generate]:
    return (op for op in walk(function.body) if isinstance(op, Generate))


def _diagnostic(failure: Failure) -> Diagnostic:
    return Diagnostic(failure.code, failure.message, failure.span)


def _pieces(seen: list[tuple[str, Seen]], tokenizer: Tokenizer) -> Iterator[Piece]:
    """What each generation adds to the prompt of the one before it, and a place to generate."""
    done, said = 0, tuple[int, ...]()
    for name, one in seen:
        done += _kept(said, one.prompt[done:])
        yield from _tokens(one.prompt[done:], tokenizer)
        yield Piece("{{gen " + name + "}}" if name else "{{gen}}")
        done, said = len(one.prompt), one.ids


def _kept(generated: tuple[int, ...], after: tuple[int, ...]) -> int:
    """How many generated ids the next prompt goes on from."""
    kept = 0
    for mine, its in zip(generated, after, strict=False):
        if mine != its:
            break
        kept += 1
    return kept


def _tokens(ids: tuple[int, ...], tokenizer: Tokenizer) -> Iterator[Piece]:
    """Runs of ordinary tokens, whose characters may span tokens, and each special one alone."""
    specials = set(tokenizer.specials.values())
    for special, run in groupby(ids, specials.__contains__):
        tokens = tuple((one, tokenizer.decode([one])) for one in run)
        if special:
            yield from (Piece(text, ((one, text),), True) for one, text in tokens)
        else:
            yield Piece(tokenizer.decode([one for one, _ in tokens]), tokens)

"""Constrained output: which tokens may come next, by llguidance.

    grammars = Grammars(tokenizer)
    matcher = grammars.matcher(Constraint(regex="[a-z]+"))
    allowed, errors = allowed_tokens([matcher], vocab, banned=[()])
    matcher.push(token); matcher.is_complete; matcher.forced()

A constraint is compiled once and copied for each generation. Compiling a big one takes up to a
second, and any thread may do it beforehand by asking for a matcher: the next one is there at once.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from threading import Lock

import llguidance
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parrotc.ir.types import Json
from parrotc.runtime.engines.embedded.patterns import literal, respelled
from parrotc.runtime.engines.protocol import Constraint, EngineError
from parrotc.runtime.tokenizer import Tokenizer

_KEPT = 64  # compiled constraints
_LONGEST = 500_000  # characters of a constraint
_LIMITS = llguidance.LLParserLimits(
    max_grammar_size=20_000,  # symbols: a second or so
    max_lexer_states=50_000,  # up to 2 kB each
    verbose_errors=False,  # they would hold the whole state of the parser
)
_DATA = {"enum", "const", "default", "examples"}  # what is below these is no schema
_NAMED = {"properties", "patternProperties", "$defs", "definitions"}  # schemas under any names


class Grammars:
    """Compiles constraints for one tokenizer. Several threads may use it at the same time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()
        self._compiled: OrderedDict[Constraint, llguidance.LLMatcher | str] = OrderedDict()

    def matcher(self, constraint: Constraint) -> "Matcher":
        """A new matcher, at the start. Raises `EngineError` for a constraint that no automaton
        can check, and for one that is too big."""
        key = replace(constraint, scored=False)
        with self._lock:
            found = self._compiled.get(key)
        if found is None:  # outside the lock: whoever needs another one goes on meanwhile
            found = self._compile(key)
        with self._lock:
            self._compiled[key] = found
            self._compiled.move_to_end(key)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        if isinstance(found, str):
            raise EngineError("constraint", found)
        return Matcher(found.deep_copy(), self._tokenizer.vocab_size)

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        """Takes a third of a second for 50,000 tokens, so not before a constraint comes."""
        return llguidance.LLTokenizer(
            self._tokenizer.to_json(),
            n_vocab=self._tokenizer.vocab_size,
            eos_token=list(self._tokenizer.eos),
        )

    def _compile(self, constraint: Constraint) -> llguidance.LLMatcher | str:
        """The matcher at its start, or what is wrong with the constraint."""
        if not self._tokenizer.eos:
            return "it cannot be used: the model has no token that ends a turn"
        try:
            grammar = _grammar(constraint)
        except ValueError as error:
            return f"it cannot be used: {error}"
        except RecursionError:
            return "it cannot be used: it is nested too deeply"
        matcher = llguidance.LLMatcher(self._vocabulary, grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()  # some work waits for the first mask; copies share it
        return f"it cannot be used: {_reason(matcher)}" if matcher.is_error() else matcher


class Matcher:
    """How far one generation has come in its grammar."""

    def __init__(self, state: llguidance.LLMatcher, vocab: int) -> None:
        self.state = state
        self.vocab = vocab

    @property
    def is_complete(self) -> bool:
        """Whether nothing more can follow."""
        return self.state.is_stopped()

    def forced(self) -> Sequence[int]:
        """The tokens that must come next, as far as each is the only one allowed in its place.

        Where a text must come that can be cut into tokens in several ways, the way in which the
        tokenizer cuts it is the only one allowed: so a text that is forced is forced to the token.
        """
        tokens: list[int] = self.state.compute_ff_tokens()
        return tokens

    def push(self, token: int) -> None:
        """Go on by a token that is allowed. Raises `EngineError` for any other."""
        if not self.state.consume_token(token):
            raise _misfit(self.state)


def allowed_tokens(
    matchers: Sequence[Matcher], vocab: int, banned: Sequence[Sequence[int]]
) -> tuple[Tensor, list[EngineError | None]]:
    """What may come next in each grammar: bool `[matchers, vocab]`, on the CPU, and what is wrong.

    The end of turn is allowed where the text so far is a whole match. The tokens `banned` for a
    grammar are left out, unless that leaves nothing.
    """
    bits = np.zeros((len(matchers), (matchers[0].vocab + 31) // 32), dtype=np.int32)
    work = [(matcher.state, row) for row, matcher in enumerate(matchers)]
    executor = _executor(torch.get_num_threads())
    executor.unsafe_compute_mask_ptr(work, bits.ctypes.data, bits.strides[0], len(bits))
    # tokens that the tokenizer does not know come out as 0
    unpacked = np.unpackbits(bits.view(np.uint8), axis=1, count=vocab, bitorder="little")
    allowed = unpacked.view(np.bool_)
    for row, ids in zip(allowed, banned, strict=True):
        _leave_out(row, ids)
    errors = [
        None if row.any() and not matcher.state.is_error() else _misfit(matcher.state)
        for matcher, row in zip(matchers, allowed, strict=True)
    ]
    return torch.from_numpy(allowed), errors


def _leave_out(allowed: NDArray[np.bool_], ids: Sequence[int]) -> None:
    inside = [token for token in ids if allowed[token : token + 1].any()]
    if inside and np.count_nonzero(allowed) > len(inside):
        allowed[inside] = False


@cache
def _executor(threads: int) -> llguidance.LLExecutor:
    return llguidance.LLExecutor(threads)


def _misfit(state: llguidance.LLMatcher) -> EngineError:
    return EngineError("constraint", f"no token fits: {_reason(state)}")


def _reason(state: llguidance.LLMatcher) -> str:
    """The first line of what is wrong; what follows is about the insides of the parser."""
    return state.get_error().strip().partition("\n")[0]


def _grammar(constraint: Constraint) -> str:
    """Raises `ValueError`, saying what is wrong with the constraint."""
    build = llguidance.LLMatcher
    if constraint.choices is not None:
        if not constraint.choices:
            raise ValueError("there are no choices")
        _check_size(sum(map(len, constraint.choices)))
        # as one regex: a rule with a hundred thousand alternatives takes a minute
        return build.grammar_from_regex("|".join(map(literal, constraint.choices)))
    if constraint.regex is not None:
        _check_size(len(constraint.regex))
        return build.grammar_from_regex(respelled(constraint.regex))
    if constraint.json_schema is not None:
        _check_size(len(constraint.json_schema))
        return build.grammar_from_json_schema(
            json.dumps(_with_respelled(json.loads(constraint.json_schema))),
            # as `json.dumps` writes: what models have read most, and no endless white space
            overrides={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        )
    raise ValueError("a constraint needs choices, a regex or a schema")


def _check_size(characters: int) -> None:
    if characters > _LONGEST:
        raise ValueError(f"it has {characters:,} characters, and {_LONGEST:,} are the limit")


def _with_respelled(schema: Json) -> Json:
    """The schema with its patterns in the words that the compiler understands."""
    match schema:
        case list():
            return [_with_respelled(one) for one in schema]
        case dict():
            return {name: _entry(name, held) for name, held in schema.items()}
    return schema


def _entry(name: str, held: Json) -> Json:
    if name in _DATA:
        return held
    if name in _NAMED and isinstance(held, dict):
        return {own: _with_respelled(one) for own, one in held.items()}
    return _pattern(held) if name == "pattern" and isinstance(held, str) else _with_respelled(held)


def _pattern(pattern: str) -> str:
    """A whole match is spelled `^(?:…)$` in a schema; inside, flags like `(?i)` come first."""
    inner = pattern.removeprefix("^(?:").removesuffix(")$")
    if len(pattern) - len(inner) == len("^(?:)$") and inner.startswith("(?"):
        return f"^(?:{respelled(inner)})$"
    return respelled(pattern)

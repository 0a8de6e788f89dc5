"""Constrained output: which tokens may come next, by llguidance.

grammars = Grammars(tokenizer)
matcher = grammars.matcher(Constraint(regex="[a-z]+"))
matcher.mask(logits); matcher.push(token); matcher.is_complete
"""

import json
from functools import cached_property

import llguidance
import torch
from torch import Tensor

from parrotc.runtime.engines.protocol import Constraint, EngineError
from parrotc.runtime.tokenizer import Tokenizer


class Grammars:
    """Compiles constraints for one tokenizer, which is prepared when the first one comes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _prepared(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(
            self._tokenizer.to_json(),
            n_vocab=self._tokenizer.vocab_size,
            eos_token=list(self._tokenizer.eos),
        )

    def matcher(self, constraint: Constraint) -> "Matcher":
        """Raises `EngineError` for a constraint that no automaton can check."""
        try:
            matcher = llguidance.LLMatcher(self._prepared, _grammar(constraint))
        except ValueError as error:  # a schema that is no JSON
            raise EngineError("constraint", f"it cannot be used: {error}") from None
        if matcher.is_error():
            raise EngineError("constraint", f"it cannot be used: {matcher.get_error().strip()}")
        return Matcher(matcher)


class Matcher:
    """How far one generation has come in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    @property
    def is_complete(self) -> bool:
        """Whether nothing more can follow."""
        return self._matcher.is_stopped()

    def mask(self, logits: Tensor) -> Tensor:
        """The logits `[vocab]` with -inf for every token that may not come next. The end of turn
        may come where the text so far is a whole match."""
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        if self._matcher.is_error() or not allowed.any():
            raise EngineError("constraint", f"no token fits: {self._matcher.get_error().strip()}")
        return logits.masked_fill(allowed == 0, float("-inf"))

    def push(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise EngineError("constraint", self._matcher.get_error().strip())


def _grammar(constraint: Constraint) -> str:
    build = llguidance.LLMatcher
    if constraint.choices is not None:
        options = " | ".join(json.dumps(text, ensure_ascii=False) for text in constraint.choices)
        return build.grammar_from_lark(f"start: {options}")
    if constraint.regex is not None:
        # by `\d` people mean 0 to 9, and models write no other digits
        regex = llguidance.regex_to_lark(constraint.regex, use_ascii="d")
        return build.grammar_from_lark(f"start: /{regex}/")
    if constraint.json_schema is not None:
        return build.grammar_from_json_schema(
            constraint.json_schema,
            # as `json.dumps` writes: what models have read most, and no endless white space
            overrides={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        )
    raise EngineError("constraint", "a constraint needs choices, a regex or a schema")

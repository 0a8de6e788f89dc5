"""Text to token ids and back, exactly: what compiling, filling and streaming all rely on.

    tokenizer = Tokenizer(Path("tokenizer.json").read_text())
    tokenizer.decode(tokenizer.encode("<|im_end|>")) == "<|im_end|>"   # as text, not as the token

Ids of special tokens come only from `specials`, never from `encode`: no value can imitate a
message boundary. An id is a run of bytes, not of characters, so `decode` joins bytes and a
`Decoder` gives a character only when all its bytes are there.
"""

import json
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Protocol

import tokenizers

from parrotc.runtime.template import CHATML

Json = Any

_LONG = 1 << 14  # characters: tens of milliseconds


class Vocabulary(Protocol):
    """What a `Decoder` reads."""

    def token_bytes(self, token: int) -> bytes: ...


class Tokenizer:
    """A model's tokenizer, over the `tokenizers` library. Implements `passes.target.Tokenizer`.

    `eos` are the ids that end a turn, `bos` the one that the tokenizer itself puts before a raw
    text, `context_length` how many tokens the model reads at most.
    """

    def __init__(
        self,
        source: str,
        *,
        eos: tuple[int, ...] = (),
        context_length: int = 8192,
    ) -> None:
        """From the text of a `tokenizer.json`. Raises `ValueError` for anything else.

        Every added token that is more than white space counts as special, whatever the file says.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(source)
        except Exception as error:  # the library raises bare `Exception`
            raise ValueError(f"not a tokenizer: {error}") from None
        added = backend.get_added_tokens_decoder()
        self.specials: Mapping[str, int] = {t.content: n for n, t in added.items() if _special(t)}
        backend.add_special_tokens([token for token in added.values() if _special(token)])
        backend.encode_special_tokens = True  # that is: as the text they are
        self.bos: int | None = next(iter(backend.encode("").ids), None)
        self.eos = eos
        self.context_length = context_length
        self.fingerprint = sha256(source.encode()).hexdigest()
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self._backend = backend
        self._special_bytes = {n: text.encode() for text, n in self.specials.items()}
        parts = json.loads(source)
        self._is_byte_level = _is_byte_level(parts)
        self._composes = parts["normalizer"] is not None
        self._has_safe_cuts = (
            self._is_byte_level
            and (parts["normalizer"] or {"type": "NFC"})["type"] == "NFC"
            and len(self.specials) == len(added)
        )

    def encode(self, text: str) -> list[int]:
        if len(text) > _LONG:  # a batch lets other threads run meanwhile
            (encoded,) = self._backend.encode_batch_fast([text], add_special_tokens=False)
        else:
            encoded = self._backend.encode(text, add_special_tokens=False)
        ids: list[int] = encoded.ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`. Bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for. Raises `ValueError` for an id that is none."""
        special = self._special_bytes.get(token)
        if special is not None:
            return special
        piece = self._backend.id_to_token(token)
        if piece is None:
            raise ValueError(f"{token} is not a token id")
        return _piece_bytes(piece, self._is_byte_level)

    def to_json(self) -> str:
        """The text of a `tokenizer.json` that other libraries can read."""
        text: str = self._backend.to_str()
        return text

    def stable_prefix(self, text: str) -> list[int]:
        """Ids of `text` that stay the same whatever text follows. May be empty.

        Byte-level BPE never merges across pre-tokens, so the ids before a place where pre-tokens
        are split for sure are certain. Other tokenizers give nothing.
        """
        if not self._has_safe_cuts or not self._is_composed(text):
            return []
        fixed = len(text[: self._safe_cut(text)].encode())
        ids: list[int] = []
        done = 0
        for token in self.encode(text):  # of the whole text, not of its safe part
            done += len(self.token_bytes(token))
            if done > fixed:
                break
            ids.append(token)
        return ids

    def _safe_cut(self, text: str) -> int:
        """The start of the pre-token that holds the last character sure to be inside one.

        Trailing white space may still change its pre-tokens, and so may a contraction that has
        just begun: `x'r` is x, ', r, but `x're` is x, 're.
        """
        solid = len(text.rstrip())
        quote = text.find("'", max(0, solid - 3), solid)
        if quote >= 0:
            solid = len(text[:quote].rstrip())
        if solid == 0:
            return 0
        spans = self._backend.pre_tokenizer.pre_tokenize_str(text)
        return next((start for _, (start, end) in spans if end >= solid), 0)

    def _is_composed(self, text: str) -> bool:
        """Whether Unicode composition, where the tokenizer uses it, cannot change `text` later."""
        if not self._composes:
            return True
        return unicodedata.is_normalized("NFC", text) and text.rstrip()[-1:].isascii()


class ByteTokenizer:
    """The reference engine's tokenizer: an id for each byte, and the two tokens of ChatML."""

    template = CHATML
    fingerprint = sha256(b"bytes and ChatML").hexdigest()
    specials: Mapping[str, int] = {"<|im_start|>": 256, "<|im_end|>": 257}
    bos: int | None = None
    eos = (257,)
    vocab_size = 258

    def __init__(self, context_length: int = 1_000_000) -> None:
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        if token < 256:
            return bytes((token,))
        return next(text.encode() for text, n in self.specials.items() if n == token)

    def stable_prefix(self, text: str) -> list[int]:
        return self.encode(text)


class Decoder:
    """Text of ids that arrive one by one: a character comes out with its last byte."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(self._vocabulary.token_bytes(token))

    @property
    def is_whole(self) -> bool:
        """Whether all bytes so far have come out as characters."""
        return self._decoder.getstate()[0] == b""


def _special(token: tokenizers.AddedToken) -> bool:
    return bool(token.special or token.content.strip())


def _is_byte_level(parts: Json) -> bool:
    """Whether a `tokenizer.json` is byte-level BPE over pre-tokens that a regex splits."""
    pre = parts["pre_tokenizer"] or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    return (
        parts["model"].get("type") == "BPE"
        and kinds[-1] == "ByteLevel"
        and not steps[-1].get("add_prefix_space")
        and set(kinds) <= {"Digits", "Split", "ByteLevel"}
    )


def _piece_bytes(piece: str, is_byte_level: bool) -> bytes:
    """The bytes of a vocabulary entry as its kind of tokenizer spells them."""
    if is_byte_level:
        table = _byte_of()
        return b"".join(bytes((table[c],)) if c in table else c.encode() for c in piece)
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes((int(piece[3:5], 16),))
    return piece.replace("▁", " ").encode()


@cache
def _byte_of() -> Mapping[str, int]:
    """How byte-level BPE spells bytes: printable ones as themselves, the rest from U+0100 on.

    Source: GPT-2's `bytes_to_unicode`.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + n): byte for n, byte in enumerate(others)}

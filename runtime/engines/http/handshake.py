"""What a client learns of an engine when it first meets it: the tokenizer, the chat template.

`GET /tokenizer` answers with it, so that programs are compiled, and texts tokenised, at the client.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.texts import ALPHABET, Alphabet
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer

AnyTokenizer = Tokenizer | ByteTokenizer | Alphabet


@dataclass(frozen=True, slots=True)
class Handshake:
    """`tokenizer` is the text of a `tokenizer.json`; None: ids are bytes (the reference engine) or
    characters (an endpoint that reads text).

    `fingerprint` is that of the file from which the engine made its tokenizer, and empty for
    characters. `lease` is after how
    many seconds without a request a client's contexts are freed.
    """

    fingerprint: str
    tokenizer: str | None
    eos: tuple[int, ...]
    context_length: int
    lease: float
    template: ChatTemplate | None = None

    @classmethod
    def of(
        cls, tokenizer: AnyTokenizer, template: ChatTemplate | None, lease: float
    ) -> "Handshake":
        source = tokenizer.to_json() if isinstance(tokenizer, Tokenizer) else None
        if isinstance(tokenizer, ByteTokenizer):
            template = ChatTemplate(ByteTokenizer.template)
        return cls(
            fingerprint=tokenizer.fingerprint,
            tokenizer=source,
            eos=tuple(tokenizer.eos),
            context_length=tokenizer.context_length,
            lease=lease,
            template=template,
        )

    def make_tokenizer(self) -> AnyTokenizer:
        """The engine's tokenizer. Raises `ValueError` where it cannot be made here."""
        made: Tokenizer | ByteTokenizer
        if self.tokenizer is None and not self.fingerprint:
            return ALPHABET
        if self.tokenizer is None:
            made = ByteTokenizer(self.context_length)
            if made.fingerprint != self.fingerprint:
                raise ValueError("it says that tokens are bytes, but not as they are bytes here")
            return made
        made = Tokenizer(self.tokenizer, eos=self.eos, context_length=self.context_length)
        # the file came through the tokenizers library, which writes it in its own way
        made.fingerprint = self.fingerprint
        return made

    def to_json(self) -> bytes:
        return to_json(self)

    @classmethod
    def from_json(cls, raw: bytes) -> "Handshake":
        """Raises `ValueError`."""
        try:
            return _adapter.validate_json(raw)
        except ValidationError:
            raise ValueError("its answer is not that of an engine of parrotc") from None


_adapter = TypeAdapter(Handshake)

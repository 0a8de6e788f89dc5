"""What a client learns of an engine when it first meets it: the tokenizer, the chat template.

`GET /tokenizer` answers with it, so that programs are compiled, and texts tokenised, at the client.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from parrotc.runtime.plan import ChatTemplate
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer


@dataclass(frozen=True, slots=True)
class Handshake:
    """`tokenizer` is the text of a `tokenizer.json`; None: ids are bytes (the reference engine).

    `fingerprint` is that of the file from which the engine made its tokenizer. `lease` is after how
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
        cls, tokenizer: Tokenizer | ByteTokenizer, template: ChatTemplate | None, lease: float
    ) -> "Handshake":
        source = None if isinstance(tokenizer, ByteTokenizer) else tokenizer.to_json()
        return cls(
            fingerprint=tokenizer.fingerprint,
            tokenizer=source,
            eos=tuple(tokenizer.eos),
            context_length=tokenizer.context_length,
            lease=lease,
            template=ChatTemplate(ByteTokenizer.template) if source is None else template,
        )

    def make_tokenizer(self) -> Tokenizer | ByteTokenizer:
        """The engine's tokenizer. Raises `ValueError` where it cannot be made here."""
        made: Tokenizer | ByteTokenizer
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

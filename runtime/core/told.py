"""What the caller of a generation was told, whichever engines ran it.

    the first engine      "The quick bro" ✕
    the second engine     "The quick brown fox"       ids that were told are given to it (`said`)
    the caller hears      "The quick bro" "wn fox"

Every engine tells the text from its beginning. What was told already is left out as long as it is
the same; where it is not, the caller hears the whole text again, marked as a `restart`.
"""

from parrotc.runtime.engines.protocol import EngineError, Finished, Piece


class Told:
    """`ids` are those that were told. They are `doubtful` when an engine contradicted itself."""

    __slots__ = (
        "_behind", "_behind_ids", "_heard", "_heard_ids", "_parts",
        "ids", "is_doubtful", "restarts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.restarts = 0
        self.is_doubtful = False
        self._parts: list[str] = []
        self._heard: list[str] = []  # of the present engine
        self._heard_ids: list[int] = []
        self._behind = ""  # what was told and this engine has not said yet
        self._behind_ids: list[int] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def begin_again(self) -> None:
        """Another engine speaks now, from the beginning."""
        self._behind, self._behind_ids = self.text, self.ids.copy()
        self._heard, self._heard_ids = [], []

    def read(self, piece: Piece) -> Piece | None:
        """What the caller is to hear of the engine's next piece."""
        if piece.restart:  # the engine itself had to begin anew
            self._heard, self._heard_ids = [], []
            self._behind, self._behind_ids = self.text, self.ids.copy()
        self._heard.append(piece.text)
        self._heard_ids += piece.ids
        if not self._behind and not self._behind_ids:
            self._parts.append(piece.text)
            self.ids += piece.ids
            return Piece(piece.text, piece.ids) if piece.restart else piece
        text, ids = piece.text, piece.ids
        known, known_ids = len(self._behind), len(self._behind_ids)
        if not _agree(text, self._behind) or not _agree(ids, tuple(self._behind_ids)):
            return self._restart("".join(self._heard), tuple(self._heard_ids))
        self._behind = self._behind[len(text) :]
        del self._behind_ids[: len(ids)]
        return self._told(text[known:], ids[known_ids:])

    def end(self, finished: Finished) -> Piece | None:
        """What is missing before the caller hears the end. Raises `EngineError` where the engine
        contradicts itself."""
        heard, heard_ids = "".join(self._heard), tuple(self._heard_ids)
        if not finished.text.startswith(heard) or finished.ids[: len(heard_ids)] != heard_ids:
            self.is_doubtful = True
            raise EngineError("internal", "the end of a generation is not what was told before")
        is_same = finished.text[len(heard) :].startswith(self._behind)
        if not is_same or finished.ids[: len(self.ids)] != tuple(self.ids):
            return self._restart(finished.text, heard_ids)
        if len(heard) == len(finished.text):
            return None
        return self.read(Piece(finished.text[len(heard) :]))

    def _told(self, text: str, ids: tuple[int, ...]) -> Piece | None:
        if not text and not ids:
            return None
        self._parts.append(text)
        self.ids += ids
        return Piece(text, ids)

    def _restart(self, text: str, ids: tuple[int, ...]) -> Piece:
        self.restarts += 1
        self.is_doubtful = False
        self._parts, self.ids = [text], list(ids)
        self._behind, self._behind_ids = "", []
        return Piece(text, ids, restart=True)


def _agree(a: str | tuple[int, ...], b: str | tuple[int, ...]) -> bool:
    """Whether one of them begins with the other."""
    shorter = min(len(a), len(b))
    return a[:shorter] == b[:shorter]

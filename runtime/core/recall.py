"""What a run, or a call, remembers of itself, and tells: implements `runtime.terms.Memory`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parrotc.runtime.core.errors import Unavailable
from parrotc.runtime.core.records import Records
from parrotc.runtime.engines.protocol import Finished
from parrotc.runtime.errors import Failed
from parrotc.runtime.plan import NativeDecl
from parrotc.runtime.terms import Path, Ran

INTERRUPTED, NOT_KEPT = "E0614", "E0615"
Told = Callable[[str, Path, Finished], None]


@dataclass(slots=True)
class Recall:
    """Of a run that goes on where it was cut off, what it had finished by then."""

    generations: Mapping[tuple[str, Path], tuple[bytes, Finished]] = field(default_factory=dict)
    natives: Mapping[tuple[str, Path], Ran | None] = field(default_factory=dict)


NOTHING = Recall()


class RunMemory:
    """Keeps in `records`, if there are any, and then tells `told` of each generation."""

    def __init__(
        self, run: str, told: Told, records: Records | None = None, before: Recall = NOTHING
    ) -> None:
        self._run, self._told, self._records, self._before = run, told, records, before

    def generation(self, site: str, path: Path, prompt: bytes) -> Finished | None:
        found = self._before.generations.get((site, path))
        if found is None or found[0] != prompt:
            return None
        self._told(site, path, found[1])
        return found[1]

    async def keep_generation(
        self, site: str, path: Path, prompt: bytes, finished: Finished
    ) -> None:
        if self._records is not None:
            try:
                await self._records.add_generation(self._run, site, path, prompt, finished)
            except Unavailable as error:
                raise Failed(NOT_KEPT, error.message) from None
        self._told(site, path, finished)

    def native(self, place: str, path: Path, native: NativeDecl) -> Ran | None:
        if (place, path) not in self._before.natives:
            return None
        ran = self._before.natives[place, path]
        if ran is None and native.effect == "effectful":
            raise Failed(
                INTERRUPTED,
                f"`{native.name}` was running when the core ended, and may not run twice",
                help="say that it is idempotent if running it again does no harm",
            )
        return ran

    async def begin_native(self, place: str, path: Path, native: NativeDecl) -> None:
        if self._records is not None and native.effect == "effectful":
            try:
                await self._records.begin_native(self._run, place, path)
            except Unavailable as error:
                raise Failed(NOT_KEPT, error.message) from None

    async def keep_native(self, place: str, path: Path, ran: Ran) -> None:
        if self._records is not None:
            try:
                await self._records.end_native(self._run, place, path, ran)
            except Unavailable as error:
                raise Failed(NOT_KEPT, error.message) from None

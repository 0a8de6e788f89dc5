"""What stands around a test while it runs: its mocks, its plans, the assertion that was false.

The natives of a test are answered here, and so are externs that it mocks; other externs run. All
calls come from the event loop of the program, and one test runs at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parrotc.ir.types import Json, Type
from parrotc.lower import testing as lowered
from parrotc.lower.testing import Assertion, Hook, MockedCall, MockStatement, PlanAsked
from parrotc.runtime.errors import Failed
from parrotc.runtime.natives import Caller
from parrotc.runtime.plan import NativeDecl
from parrotc.testing import figures
from parrotc.testing.mocks import Mock


@dataclass(frozen=True)
class FalseAssertion:
    """An assertion that does not hold, with the values of its parts and its message."""

    assertion: Assertion
    values: Sequence[Json]
    message: str | None


@dataclass
class Stand:
    """The state of the test that runs. `begin` forgets that of the one before."""

    hooks: Mapping[str, Hook]
    plans: figures.Plans
    mocks: list[Mock] = field(default_factory=list)  # in the order in which they were reached
    answering: dict[str, Mock] = field(default_factory=dict)  # by function: the last one
    failed: FalseAssertion | None = None
    exhausted: Mock | None = None

    def begin(self) -> None:
        self.mocks, self.answering = [], {}
        self.failed = self.exhausted = None

    def answer(self, native: str, args: Sequence[Json]) -> Json:
        """The value of a native of the test. Raises `Failed`."""
        hook = self.hooks[native]
        match hook:
            case Assertion():
                return self._assert(hook, args[1:])
            case MockStatement():
                self.mocks.append(Mock.of(hook, args[1]))
                self.answering[hook.function] = self.mocks[-1]
                return True
            case MockedCall():
                return self._mocked(hook, args)
            case PlanAsked():
                return self.plans.of(hook.flow, dict(zip(hook.inputs, args, strict=True)))
            case lowered.PrefixAsked():
                return figures.prefix(args[0], hook.function)
            case lowered.Comparison():
                return figures.compare(hook.node, args[0], args[1])
        return True  # it was reached

    def draw(self, function: str) -> Json:
        """The next answer of a mocked function. Raises `Failed`."""
        mock = self.answering[function]
        try:
            return mock.draw()
        except Failed:
            self.exhausted = mock
            raise

    def _assert(self, assertion: Assertion, args: Sequence[Json]) -> bool:
        if args[0]:
            return True
        values, rest = args[1 : len(assertion.parts) + 1], args[len(assertion.parts) + 1 :]
        self.failed = FalseAssertion(assertion, values, rest[0] if rest else None)
        raise Failed("E0801", "the assertion is false")

    def _mocked(self, call: MockedCall, args: Sequence[Json]) -> Json:
        if call.function not in self.answering:
            name = call.function
            raise Failed("E0805", f"`{name}` is called before the test has come to its mock")
        if not call.is_counted:
            return self.draw(call.function)
        return [self.draw(call.function) for _ in range(args[0])]


class TestNatives:
    """The natives of a program whose tests run. Implements `Caller`."""

    __test__ = False  # not a class for pytest to collect

    def __init__(self, natives: Caller, stand: Stand) -> None:
        self._natives = natives
        self._stand = stand

    async def call(self, native: NativeDecl, result: Type, args: Sequence[Json]) -> Json:
        if native.name in self._stand.hooks:
            return self._stand.answer(native.name, args)
        if native.name in self._stand.answering:
            return self._stand.draw(native.name)
        return await self._natives.call(native, result, args)

    async def close(self) -> None:
        await self._natives.close()

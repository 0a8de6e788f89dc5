"""What a core refuses, and what became of what it took: one class for each, with a stable code.

Every error has a `message` that stands alone and says nothing of other tenants. What does not
exist and what belongs to somebody else are one and the same `NotFound`. `diagnostic` is the first
cause where a program or an engine failed, with its place in the user's text.
"""

from typing import ClassVar

from parrotc.ir.diagnostic import Diagnostic


class CoreError(Exception):
    """`code` names the kind for programs; `help` says what to do, if that is known."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, help: str = "", *, diagnostic: Diagnostic | None = None):
        super().__init__(message)
        self.message, self.help, self.diagnostic = message, help, diagnostic


class Unauthorized(CoreError):
    """No API key, or none that is known."""

    code = "unauthorized"


class NotFound(CoreError):
    """Nothing of that name belongs to the one who asks."""

    code = "not_found"


class Invalid(CoreError):
    """What was asked means nothing."""

    code = "invalid"


class Conflict(CoreError):
    """It was done already and can be done once only: a variable that is set."""

    code = "conflict"


class TooLarge(CoreError):
    """More than a limit of the config allows of one thing."""

    code = "too_large"


class Busy(CoreError):
    """A limit on how many is reached; later there may be room, after `retry_after` seconds."""

    code = "busy"

    def __init__(self, message: str, help: str = "", *, retry_after: float = 1.0):
        super().__init__(message, help)
        self.retry_after = retry_after


class Unavailable(CoreError):
    """The core is stopping, or no engine can do it."""

    code = "unavailable"


class TimedOut(CoreError):
    """There is no value after the time that the caller gave it. The work goes on."""

    code = "timeout"


class Cancelled(CoreError):
    """Somebody stopped it: a session that was closed, a run or a variable that was dropped."""

    code = "cancelled"


class Failed(CoreError):
    """It was run and failed. `diagnostic` has the code, the fact and the place of the cause."""

    code = "failed"

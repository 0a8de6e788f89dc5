"""Functions that a core may call, for its tests."""

import time


def shout(text: str) -> str:
    return text.upper()


def sleep(text: str) -> str:
    """Blocks whatever runs it, for so many seconds."""
    time.sleep(float(text))
    return text


def fail(text: str) -> str:
    raise LookupError(f"nothing called {text}")


def secret(text: str) -> str:
    raise AssertionError("nobody allowed this")

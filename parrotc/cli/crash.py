"""A bug of ours: what happened goes into a file, and the user is told where that is."""

import platform
import sys
import tempfile
import traceback
from importlib.metadata import version

from parrotc.ir.diagnostic import Diagnostic


def write_report(error: BaseException) -> Diagnostic:
    """Write the crash report, and say so in words."""
    where = f"Python {platform.python_version()}, {platform.platform()}"
    story = "".join(traceback.format_exception(error))
    text = f"parrotc {version('parrotc')}, {where}\narguments: {sys.argv[1:]}\n\n{story}"
    with tempfile.NamedTemporaryFile(
        "w", prefix="parrotc-crash-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    return Diagnostic(
        "I0001",
        f"parrotc has a bug: {type(error).__name__}: {_short(str(error))}",
        notes=(f"the report is in {file.name}",),
        help="please send the report, with the program if you can",
    )


def _short(text: str) -> str:
    first = text.strip().split("\n")[0]
    return first if len(first) <= 200 else f"{first[:200]}…"

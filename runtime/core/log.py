"""Logs that programs can read: a line of JSON for each event, with the request that it belongs to.

    {"time": "2025-03-01T12:00:00.123Z", "level": "info", "logger": "parrotc.runtime.core.runs",
     "request": "5f0c…", "message": "run r-… began"}

Texts of users, tokens and keys are never logged.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

REQUEST: ContextVar[str] = ContextVar("request", default="")  # the id of the request at hand
_FILENAME = "core.log"


class JsonFormatter(logging.Formatter):
    """One line for each record; a traceback is in its `error`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        told = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request": getattr(record, "request", None) or REQUEST.get() or None,
            "message": record.getMessage(),
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: held for name, held in told.items() if held is not None})


def log_to(folder: str, filename: str, level: str) -> None:
    """Write what `parrotc` logs, from `level` on, to a file, or to standard error where neither is
    named. The file may be moved away at any time. Raises `OSError`."""
    handler: logging.Handler
    if folder or filename:
        path = Path(folder) / (filename or _FILENAME)
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(path, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("parrotc")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False

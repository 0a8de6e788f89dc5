"""What a run shows while it goes on: on a terminal a line that lives, elsewhere nothing.

The watcher is called on the run's own thread and only notes the counters; drawing happens on
rich's. The last line, on a terminal or with `--stats`, says what the run cost and what it saved.
"""

import json
import sys
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from parrotc.runtime.trace import Counters, Event

REDRAW = 8  # times a second
BAR = 24
SHOWN = 200  # characters of the text being generated
LATELY = 4.0  # seconds over which the rate is taken


class Watch:
    """Watches one run. Call it with each event; use it in a `with` around the run."""

    def __init__(self, name: str, *, stats: bool, log: IO[str] | None) -> None:
        self.name = name
        self.text = ""  # of one call at a time
        self._call: tuple[str, tuple[int, ...]] | None = None  # the one whose text is shown
        self._rates: deque[tuple[float, int]] = deque([(0.0, 0)])
        self.counters: Counters | None = None
        self._started = time.monotonic()
        self._on_terminal = sys.stderr.isatty()
        self._stats = stats or self._on_terminal
        self._log = log
        self._live = ExitStack()

    def __call__(self, event: "Event") -> None:
        self.counters = event.counters
        self._follow(event)
        if self._log is not None:
            self._log.write(_line(event, self.seconds) + "\n")

    def _follow(self, event: "Event") -> None:
        """Keep the end of the text of one call until it is done, then of another."""
        call = event.site, event.path
        if event.kind == "text" and self._call in (None, call):
            self.text = (self.text if self._call else "") + event.text
            self.text, self._call = self.text[-SHOWN:], call
        elif event.kind in ("finished", "failed") and call == self._call:
            self._call = None

    def rate(self, tokens: int) -> float:
        """Tokens a second, lately."""
        now = self.seconds
        self._rates.append((now, tokens))
        while len(self._rates) > 2 and now - self._rates[0][0] > LATELY:
            self._rates.popleft()
        then, before = self._rates[0]
        return (tokens - before) / max(now - then, 0.1)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        if self._on_terminal:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live.enter_context(
                Live(
                    console=console,
                    get_renderable=lambda: _picture(self),
                    refresh_per_second=REDRAW,
                    transient=True,
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close()
        if self._stats and self.counters is not None:
            click.echo(summary(self.counters, self.seconds), err=True)


def summary(counters: "Counters", seconds: float) -> str:
    """What a run cost and what sharing saved, in one line."""
    calls = f"{counters.calls_done} call{'s' * (counters.calls_done != 1)}"
    if counters.calls_failed:
        calls += f" ({counters.calls_failed} failed)"
    rate = counters.tokens_generated / seconds if seconds else 0.0
    return (
        f"{calls} in {seconds:.1f} s: {counters.tokens_generated:,} tokens generated"
        f" ({rate:.0f}/s), {counters.tokens_filled:,} read; {saved(counters)}"
    )


def saved(counters: "Counters") -> str:
    whole, filled = counters.tokens_without_sharing, counters.tokens_filled
    if whole <= filled:
        return "nothing to share"
    return f"sharing saved {whole - filled:,} of {whole:,} ({1 - filled / whole:.0%})"


def _line(event: "Event", seconds: float) -> str:
    told: dict[str, Any] = {
        "seconds": round(seconds, 4),
        "event": event.kind,
        "site": event.site,
        "path": event.path,
        "text": event.text,
        **asdict(event.counters),
    }
    return json.dumps(told, ensure_ascii=False)


def _picture(watch: Watch) -> "RenderableType":
    """A bar with counts, and the end of the text that is being generated."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counters = watch.counters
    if counters is None:
        return Text(f"{watch.name}  loading the model … {watch.seconds:.0f} s", style="dim")
    row = Table.grid(padding=(0, 2))
    row.add_row(
        Text(watch.name, style="bold"),
        _bar(counters),
        f"{counters.calls_done}/{counters.calls_total_known} calls",
        f"{counters.calls_running} running",
        f"{watch.rate(counters.tokens_generated):.0f} tokens/s",
        f"{counters.tokens_filled:,} read",
        Text(saved(counters), style="green"),
    )
    tail = " ".join(watch.text.split())
    return Group(row, Text(f"… {tail}" if tail else "", style="dim", no_wrap=True, overflow="crop"))


def _bar(counters: "Counters") -> "RenderableType":
    from rich.progress_bar import ProgressBar

    return ProgressBar(
        total=max(counters.calls_total_known, 1), completed=counters.calls_done, width=BAR
    )

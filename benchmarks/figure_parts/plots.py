"""The figures as pictures: SVG files that read well on light and on dark pages.

Each system has one colour everywhere, and ours is the broad line, since what others draw often lies
on it. Lines are named where they end. The same measures give the same bytes, with the version of
matplotlib that `constraints.txt` names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean

import matplotlib
from figure_parts.measuring import SUSTAINED, Measure
from figure_parts.record import Record, systems
from figure_parts.tables import OURS, TITLES, file_name
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#7d8590"  # of text and axes: far enough from white and from black
COLOURS = {
    "FIFO": "#d2811c",
    "FIFO, 40 ms": "#d2811c",
    "prefix cache": "#3f8efc",
    "prefix cache, 40 ms": "#3f8efc",
    "prefix cache, read once": "#9a66f5",
    "Parrot's policies": "#1f9d68",
    OURS: "#e5484d",
}
DASHED = ("FIFO, 40 ms", "prefix cache, 40 ms")
WIDTH, HEIGHT = 4.3, 2.9  # inches of a panel; a single one is wider
LEFT, RIGHT, TOP, BOTTOM = 0.55, 1.45, 0.3, 0.5  # inches around its axes: names stand at the right
LETTER = 9.0  # points
GAP = 1.25 * LETTER  # between two names
EARLY = 0.75  # part of the width before which a line ends early
STYLE = {
    "svg.hashsalt": "parrotc",  # ids do not change from run to run
    "svg.fonttype": "none",  # text stays text
    "font.size": LETTER,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Panel:
    """What one part of a figure shows of the measures that it `takes`: a number of the setting
    against a value."""

    title: str
    across: str  # what is on the axes, with units
    up: str
    takes: Callable[[Measure], bool]
    x: Callable[[Measure], float]
    y: Callable[[Measure], float]
    is_log: bool = False  # across
    limit: tuple[float, float, str] | None = None  # a line across, and above `x` what it means
    most: float | None = None  # of `y` that is shown


def _mean(kind: str) -> Callable[[Measure], float]:
    return lambda measure: measure.of(kind).mean


def _number(at: int) -> Callable[[Measure], float]:
    return lambda measure: measure.numbers[at]


def _lengths(kind: str) -> tuple[Panel, ...]:
    """Panels of figures 11 and 13: by the length of answers, and of parts."""
    return (
        Panel(
            "parts of 1,024 tokens", "tokens of an answer", "seconds",
            lambda measure: measure.numbers[0] == 1024, _number(1), _mean(kind),
        ),
        Panel(
            "answers of 50 tokens", "tokens of a part", "seconds",
            lambda measure: measure.numbers[1] == 50, _number(0), _mean(kind),
        ),
    )  # fmt: skip


def _all(_: Measure) -> bool:
    return True


PANELS = {
    "11": _lengths("chain"),
    "12a": tuple(
        Panel(f"{kind}s", "chats a second", "seconds", _all, _number(0), _mean(kind))
        for kind in ("chain", "chat")
    ),
    "12b": (Panel("", "papers at once", "seconds", _all, _number(0), _mean("chain")),),
    "13": _lengths("job"),
    "16": (
        Panel(
            "", "applications a second", "milliseconds a token", _all, _number(0),
            lambda measure: 1e3 * measure.of("GPT").per_token,
            is_log=True, most=70.0,
            limit=(1e3 * SUSTAINED, 20.0, f"sustained below {1e3 * SUSTAINED:g} ms"),
        ),
    ),
    "17": tuple(
        Panel(title, "files", "seconds", takes, _number(0), _mean("project"))
        for title, takes in (
            ("all systems", _all),
            ("those that share", lambda measure: not measure.system.startswith("FIFO")),
        )
    ),
    "18": tuple(
        Panel(f"{kind}s", "chats a second", "seconds", _all, _number(0), _mean(kind))
        for kind in ("chat", "job")
    ),
}  # fmt: skip


def plots(record: Record) -> dict[str, str]:
    """The text of each SVG file by its name. Figures that were not measured are left out."""
    return {file_name(name): _plot(record.of(name), name) for name in TITLES if record.of(name)}


def _plot(measures: Sequence[Measure], name: str) -> str:
    panels = PANELS[name]
    width, right = (WIDTH, RIGHT) if len(panels) > 1 else (1.6 * WIDTH, 1.3 * RIGHT)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * len(panels), HEIGHT))
        for number, panel in enumerate(panels):
            box = (
                (number * width + LEFT) / (width * len(panels)),
                BOTTOM / HEIGHT,
                (width - LEFT - right) / (width * len(panels)),
                (HEIGHT - TOP - BOTTOM) / HEIGHT,
            )
            _draw(figure.add_axes(box), panel, [each for each in measures if panel.takes(each)])
        text = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _draw(axes: Axes, panel: Panel, measures: Sequence[Measure]) -> None:
    lines = {
        name: sorted((panel.x(m), panel.y(m)) for m in measures if m.system == name)
        for name in systems(measures)
    }
    _scale(axes, panel, sorted({x for line in lines.values() for x, _ in line}))
    for name, line in lines.items():
        is_ours = name == OURS
        axes.plot(
            *zip(*line, strict=True),
            color=COLOURS[name],
            linestyle="--" if name in DASHED else "-",
            linewidth=5.0 if is_ours else 1.4,
            marker="o",
            markersize=7.0 if is_ours else 3.0,
            alpha=0.75 if is_ours else 1.0,
            zorder=2 if is_ours else 3,
        )
    most = max(y for line in lines.values() for _, y in line)
    axes.set_ylim(0, panel.most or 1.15 * most)
    _name(axes, {name: line[-1] for name, line in lines.items()})


def _scale(axes: Axes, panel: Panel, across: Sequence[float]) -> None:
    axes.set_title(panel.title, fontsize=LETTER, loc="left")
    axes.set_xlabel(panel.across)
    axes.set_ylabel(panel.up)
    axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
    axes.tick_params(length=3)
    if panel.is_log:
        axes.set_xscale("log", base=2)
        across = [x for x in across if x.is_integer() and not int(x) & (int(x) - 1)]
    axes.set_xticks(across, [f"{x:,.0f}" for x in across], minor=False)
    if panel.limit is not None:
        at, x, meaning = panel.limit
        axes.axhline(at, color=INK, linewidth=1.0, linestyle=":")
        axes.annotate(
            meaning, (x, at), (0, 3), textcoords="offset points", ha="center", fontsize=LETTER - 1
        )


def _name(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write the names of lines at the right, where those that would overlap move apart, and of
    lines that end long before beside their ends."""
    inside = axes.transData + axes.transAxes.inverted()
    places = {name: inside.transform(end) for name, end in ends.items()}  # parts of the axes
    late = sorted((y, name) for name, (x, y) in places.items() if x > EARLY)
    height = 72 * (HEIGHT - TOP - BOTTOM)  # of the axes, in points
    moved = _apart([height * y for y, _ in late])
    at = {name: (1.03, y / height) for y, (_, name) in zip(moved, late, strict=True)}
    for name, (x, y) in places.items():
        axes.annotate(
            name,
            ends[name],
            at.get(name, (x + 0.04, y)),
            textcoords="axes fraction",
            color=COLOURS[name],
            weight="bold" if name == OURS else "normal",
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": COLOURS[name], "linewidth": 0.6,
                "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 4,
            },
        )  # fmt: skip


def _apart(heights: Sequence[float]) -> list[float]:
    """Rising heights, moved as little as makes them `GAP` from each other."""
    placed: list[list[float]] = []  # groups that touch, each around the mean of what it wants
    for height in heights:
        placed.append([height])
        while len(placed) > 1 and _bottom(placed[-1]) < _bottom(placed[-2]) + GAP * len(placed[-2]):
            last = placed.pop()
            placed[-1] += last
    return [_bottom(group) + GAP * number for group in placed for number in range(len(group))]


def _bottom(group: Sequence[float]) -> float:
    return fmean(group) - GAP * (len(group) - 1) / 2

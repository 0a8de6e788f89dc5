"""What documents show of the figures: for each a plot and a table.

blocks(Record.load())["figure 16"]      Markdown, as `document.py` puts it between markers
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from document_parts.markdown import table
from figure_parts.measuring import Measure, Times
from figure_parts.record import Record, kinds, pairs, systems
from figure_parts.systems import SYSTEMS

TITLES = {
    "11": "Figure 11, a chain of summaries alone",
    "12a": "Figure 12, a chain of summaries beside chats",
    "12b": "Figure 12, many chains of summaries at once",
    "13": "Figure 13, a map-reduce summary alone",
    "16": "Figure 16, four GPTs",
    "17": "Figure 17, agents write a project",
    "18": "Figure 18, chats beside map-reduce jobs",
}
OURS = SYSTEMS["ours"].name


def blocks(record: Record) -> dict[str, str]:
    """The Markdown of each figure by its name, which is `figure 11` and so on."""
    return {f"figure {figure}": _block(record, figure) for figure in TITLES if record.of(figure)}


def file_name(figure: str) -> str:
    """Of its plot, in `docs/figures`."""
    return f"figure-{figure}.svg"


def _block(record: Record, figure: str) -> str:
    title = TITLES[figure]
    picture = f"![{title}](figures/{file_name(figure)})"
    return "\n\n".join([f"**{title}**", picture, _table(record, figure)])


def _table(record: Record, figure: str) -> str:
    """Seconds, or milliseconds a token; then how much more or less ours takes than the others."""
    measures = record.of(figure)
    names = systems(measures)
    if figure == "16":
        rows = [*_rates(measures), *_sustained(record, names)]
        rows += _beside(measures, lambda times: times.per_token)
    else:
        rows = [*_means(measures), *_beside(measures, lambda times: times.mean)]
    return table(["", *names], rows)


def _means(measures: Sequence[Measure]) -> Iterator[list[str]]:
    """Mean / median / 99th percentile of each setting and kind, one number for one application."""
    for setting, group in groupby(measures, key=lambda measure: measure.setting):
        found = list(group)
        for times in found[0].times:
            cells = [f"{setting}: {times.kind}" if len(found[0].times) > 1 else setting]
            for measure in found:
                own = measure.of(times.kind)
                spread = f" / {own.p50:.2f} / {own.p99:.2f}" if own.count > 1 else ""
                cells.append(f"{own.mean:.2f}{spread}")
            yield cells


def _rates(measures: Sequence[Measure]) -> Iterator[list[str]]:
    """Milliseconds for each token of an answer, by rate."""
    names = systems(measures)
    by_rate = sorted(measures, key=lambda measure: measure.numbers)
    for setting, group in groupby(by_rate, key=lambda measure: measure.setting):
        found = {measure.system: measure.of("GPT") for measure in group}
        cells = [f"{1e3 * found[n].per_token:.1f}" if n in found else "" for n in names]
        yield [setting, *cells]


def _sustained(record: Record, names: Sequence[str]) -> Iterator[list[str]]:
    rates = {name: record.sustained(name) for name in names}
    yield ["sustained, a second", *(f"{rates[name]:g}" for name in names)]
    others = {name: rate for name, rate in rates.items() if rate and name != OURS}
    times = {name: f"{rates[OURS] / rate:.1f} times" for name, rate in others.items()}
    yield ["ours sustains", *(times.get(name, "") for name in names)]


def _beside(measures: Sequence[Measure], seconds: Callable[[Times], float]) -> Iterator[list[str]]:
    """From the best to the worst case of ours beside each system, where both were measured."""
    for kind in kinds(measures):
        cells = ["ours takes" + (f": {kind}" if len(kinds(measures)) > 1 else "")]
        for name in systems(measures):
            found = [
                seconds(own.of(kind)) / seconds(its.of(kind)) - 1
                for own, its in pairs(measures, OURS, name, kind)
            ]
            cells.append("" if name == OURS else _range(found))
        yield cells


def _range(parts: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(map(_percent, (min(parts), max(parts)))))


def _percent(part: float) -> str:
    number = round(100 * part)
    sign = "−" if number < 0 else "+" if number else "±"
    return f"{sign}{abs(number)} %"

"""What `peers.py`, `sharing.py` and `pipelining.py` measured of engines."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from document_parts.markdown import stored, table

_OURS = "ours"
_WAYS = ("prefill-split", "stream-through")


def peers() -> dict[str, str]:
    """Tokens a second, the best of a row in bold; how many times ours is the best of the others."""
    rates: dict[str, dict[str, float]] = stored("peers")["rates"]
    workloads = list(next(iter(rates.values())))
    rows = []
    for workload in workloads:
        best = max(rate[workload] for rate in rates.values())
        cells = (_rate(rate[workload], rate[workload] == best) for rate in rates.values())
        rows.append([workload, *cells, _ahead(rates, workload)])
    return {"peers": table(["", *rates, "ours beside the best other"], rows)}


def _rate(rate: float, is_best: bool) -> str:
    text = f"{rate:,.1f}"
    return f"**{text}**" if is_best else text


def _ahead(rates: dict[str, dict[str, float]], workload: str) -> str:
    own = [rate[workload] for name, rate in rates.items() if name.startswith(_OURS)]
    others = [rate[workload] for name, rate in rates.items() if not name.startswith(_OURS)]
    return f"{max(own) / max(others):.1f}×"


def sharing() -> dict[str, str]:
    """Filled tokens and seconds of each way, and the ratios to the first."""
    record = stored("sharing")
    rows = []
    for workload, group in groupby(record["measures"], key=itemgetter("workload")):
        rows += list(_shared(workload.replace("_", " "), list(group)))
    return {
        "sharing": table(["", "", "tokens filled", "", "seconds", ""], rows),
        "sharing equality": _equality(record["equality"]),
    }


def _shared(workload: str, measures: list[dict[str, Any]]) -> Iterator[list[str]]:
    first = measures[0]
    for measure in measures:
        fewer = faster = ""
        if measure is not first:
            fewer = f"{first['filled'] / measure['filled']:.1f}× fewer"
            faster = f"{first['seconds'] / measure['seconds']:.1f}×"
        name = f"{workload}, {measure['calls']} calls" if measure is first else ""
        filled, seconds = f"{measure['filled']:,}", f"{measure['seconds']:.1f}"
        yield [name, measure["way"], filled, fewer, seconds, faster]


def _equality(found: dict[str, dict[str, Any]]) -> str:
    """Of each precision, how many tokens were compared and whether they were equal."""
    return ", ".join(
        f"{sum(one['tokens'] for one in of.values())} tokens in {precision}: "
        + ("equal" if all(one["equal"] for one in of.values()) else "not equal")
        for precision, of in found.items()
    )


def pipelining() -> dict[str, str]:
    """How many times faster each way is than without, on the first runs of one user."""
    measures = [one for one in stored("pipelining")["measures"] if one["users"] == 1]
    first = {(m["engine"], m["workload"], m["way"]): m["first"] for m in measures}
    engines = list(dict.fromkeys(m["engine"] for m in measures))
    workloads = [m["workload"] for m in measures if m["engine"] == engines[-1]]
    head = ["", *(f"{way}, {engine}" for way in _WAYS for engine in engines)]
    rows = (
        [
            workload,
            *(
                f"{first[engine, workload, 'off'] / first[engine, workload, way]:.2f}"
                for way in _WAYS
                for engine in engines
            ),
        ]
        for workload in dict.fromkeys(workloads)
    )
    return {"pipelining": table(head, rows)}

"""What `scheduling.py` and `serve.py` measured of the scheduler and the core."""

from typing import Any

from document_parts.markdown import stored, table


def scheduling() -> dict[str, str]:
    """Decisions a second by engines and load."""
    measures = stored("scheduling")["measures"]
    loads = list(dict.fromkeys(one["load"] for one in measures))
    found = {(one["engines"], one["load"]): f"{one['tasks_per_second']:,.0f}" for one in measures}
    engines = dict.fromkeys(one["engines"] for one in measures)
    rows = ([f"{number:,}", *(found[number, load] for load in loads)] for number in engines)
    return {"scheduling": table(["engines", *loads], rows)}


def serving() -> dict[str, str]:
    """Calls a second through a router and over HTTP, and how long one call alone takes."""
    record = stored("serve")
    ways = {
        "through a router, in process": (record["in_process"]["measures"], "cpu"),
        "semantic calls over HTTP": (_of(record, "calls"), "server_cpu"),
        "calls of plans over HTTP": (_of(record, "plans"), "server_cpu"),
    }
    engines = [one["engines"] for one in record["in_process"]["measures"]]
    rows = (
        [f"{number:,}", *(_calls(found, number, cpu) for found, cpu in ways.values())]
        for number in engines
    )
    router, calls = record["in_process"]["measures"], _of(record, "calls")
    alone = (
        [name, _between(measures, "p50"), _between(measures, "p99")]
        for name, measures in (
            ("through a router", router),
            ("a semantic call, two requests", calls),
            ("a plan, one request", _of(record, "plans")),
        )
    )
    return {
        "serving": table(["engines", *ways], rows),
        "serving alone": table(["alone", "median, ms", "99 %, ms"], alone),
        "serving late calls": _late(calls),
        "serving late plans": _late(_of(record, "plans")),
    }


def _of(record: Any, what: str) -> list[dict[str, Any]]:
    return [one for one in record["http"]["measures"] if one["what"] == what]


def _calls(measures: list[dict[str, Any]], engines: int, cpu: str) -> str:
    one = next(one for one in measures if one["engines"] == engines)
    return f"{one['calls_per_second']:,.0f} ({one[f'calls_per_{cpu}_second']:,.0f})"


def _late(measures: list[dict[str, Any]]) -> str:
    """The longest that the event loop was late, in milliseconds, with any number of engines."""
    return f"{max(one['late'] for one in measures) / 1e3:.0f} ms"


def _between(measures: list[dict[str, Any]], name: str) -> str:
    """Milliseconds, from the least to the most of all numbers of engines."""
    found = [one[name] / 1e3 for one in measures]
    return f"{min(found):.2f} to {max(found):.2f}"

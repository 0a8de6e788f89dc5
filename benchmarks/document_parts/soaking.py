"""What `soak.py` found."""

from document_parts.markdown import stored, table

MEGABYTE = 1 << 20


def soaking() -> dict[str, str]:
    """What was asked, what happened to engines meanwhile, and what came of it."""
    record = stored("soak")
    first, last = record["marks"][0], record["marks"][-1]
    late = {name: 1000 * seconds for name, seconds in record["late"].items()}
    rows = [
        ["minutes", f"{record['minutes']:g}"],
        ["asked", _each(record["asked"])],
        ["faults", _each(record["faults"])],
        ["calls that were tried again", f"{record['retries']:,}"],
        ["lost, hung, wrong", ", ".join(str(len(record[n])) for n in ("lost", "hung", "wrong"))],
        ["contexts, calls or sessions left", str(len(record["left"]))],
        ["objects, first and last minute", f"{first['objects']:,}, {last['objects']:,}"],
        ["resident MB", ", ".join(f"{one['resident'] / MEGABYTE:.1f}" for one in (first, last))],
        ["loop late, 99 % and longest, ms", _late(late, "loop")],
        ["the machine itself, likewise", _late(late, "machine")],
    ]
    return {"soak": table(["", ""], rows)}


def _each(counts: dict[str, int]) -> str:
    kinds = "; ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    return f"{sum(counts.values()):,} ({kinds})"


def _late(late: dict[str, float], whose: str) -> str:
    return f"{late[f'{whose} p99']:.0f}, {late[f'{whose} longest']:.0f}"

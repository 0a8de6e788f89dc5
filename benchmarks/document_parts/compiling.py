"""What `compile.py` measured of the compiler."""

from document_parts.markdown import stored, table


def compiling() -> dict[str, str]:
    rows = (
        [f"{one['calls']:,}", f"{one['seconds']:.1f}", f"{one['gib']:.2f}"]
        for one in stored("compile")["measures"]
    )
    return {"compiling": table(["calls", "CPU seconds", "GiB"], rows)}

"""A picture in the language of Graphviz: one drawing, or several side by side.

Colours mean the same everywhere: green is read once for several calls, grey is constant but read
for each, amber varies. Red is the critical path. A band at the left of a call says its group.
"""

from collections.abc import Sequence
from html import escape

from parrotc.viz.graph import Box, Edge, Node, Picture, Tokens

GREEN, GREY, AMBER, RED = "#bfe3cb", "#d9dee5", "#fbe0a6", "#c0392b"
GREEN_LINE, LINE, INK, FAINT = "#3a9d5d", "#8a94a3", "#1f2933", "#6b7683"
GROUPS = ("#4c78a8", "#b279a2", "#9d755d", "#439894", "#d37295", "#7f7f1f")
FONT = "Helvetica,Arial,sans-serif"
EXCERPT = 46


def as_dot(pictures: Sequence[Picture]) -> str:
    """The pictures as one graph, with a legend."""
    lines = [
        "digraph parrotc {",
        f'  graph [rankdir=TB, ranksep=0.45, nodesep=0.35, fontname="{FONT}", fontsize=13,'
        ' bgcolor="white", pad=0.3, newrank=false]',
        f'  node [shape=plain, fontname="{FONT}", fontsize=11, fontcolor="{INK}"]',
        f'  edge [color="{LINE}", arrowsize=0.7, penwidth=1.1]',
    ]
    for number, picture in enumerate(pictures):
        lines += _drawing(picture, f"p{number}", framed=len(pictures) > 1)
    lines += [*_legend(pictures), "}", ""]
    return "\n".join(lines)


def _drawing(picture: Picture, prefix: str, *, framed: bool) -> list[str]:
    lines = [f'  subgraph "cluster_{prefix}" {{', f"    label=<<b>{escape(picture.title)}</b>>"]
    lines.append(f'    color="{"#c5ccd6" if framed else "white"}"; style=rounded; margin=14')
    lines += _inside(picture, prefix, None, "    ")
    lines += [f"    {_edge(edge, prefix)}" for edge in picture.edges]
    return [*lines, "  }"]


def _inside(picture: Picture, prefix: str, box: str | None, margin: str) -> list[str]:
    """The nodes that stand directly in a box (or in none), and the boxes in it."""
    lines = [f"{margin}{_node(node, prefix)}" for node in picture.nodes if node.box == box]
    for inner in picture.boxes:
        if inner.box == box:
            lines += _box(picture, inner, prefix, margin)
    return lines


def _box(picture: Picture, box: Box, prefix: str, margin: str) -> list[str]:
    return [
        f'{margin}subgraph "cluster_{prefix}{box.name}" {{',
        f"{margin}  label=<<i>{escape(box.title)}</i>>; labeljust=l; fontsize=10",
        f'{margin}  style="rounded,dashed"; color="{LINE}"; fontcolor="{FAINT}"; margin=10',
        *_inside(picture, prefix, box.name, margin + "  "),
        f"{margin}}}",
    ]


def _edge(edge: Edge, prefix: str) -> str:
    style = ""
    if edge.shared:
        style = f' [color="{GREEN_LINE}", penwidth=2.2, style=dashed, arrowhead=none]'
    elif edge.critical:
        style = f' [color="{RED}", penwidth=2.6]'
    return f'"{prefix}{edge.start}" -> "{prefix}{edge.end}"{style}'


def _node(node: Node, prefix: str) -> str:
    draw = {"call": _call, "shared": _shared}.get(node.kind, _plain)
    return f'"{prefix}{node.name}" [label=<{draw(node)}>]'


def _plain(node: Node) -> str:
    """An input, a Python function or the result: a small rounded box."""
    back = "#eef2f7" if node.kind != "native" else "#f7f3ea"
    line = RED if node.critical and node.kind == "result" else LINE
    mark = "ƒ " if node.kind == "native" else ""
    return (
        f'<table border="1" cellborder="0" cellspacing="0" cellpadding="5" style="rounded" '
        f'bgcolor="{back}" color="{line}"><tr><td>{mark}<b>{escape(node.title)}</b>'
        f"{_small(node.detail)}</td></tr></table>"
    )


def _call(node: Node) -> str:
    """A call: its name, a bar of its prompt's tokens, and what is asked."""
    line, width = (RED, 2) if node.critical else (LINE, 1)
    band = ""
    if node.group is not None:
        band = f'<td rowspan="3" bgcolor="{GROUPS[node.group % len(GROUPS)]}" cellpadding="4"></td>'
    bar = _bar(node.tokens) if node.tokens else ""
    return (
        f'<table border="{width}" cellborder="0" cellspacing="0" cellpadding="8" bgcolor="white" '
        f'color="{line}"><tr>{band}<td><b><font point-size="13">{escape(node.title)}</font></b>'
        f"</td></tr><tr><td>{bar}</td></tr><tr><td>{_small(node.detail)}</td></tr></table>"
    )


def _bar(tokens: Tokens) -> str:
    """The prompt from left to right: shared, constant, varying tokens."""
    cells = []
    if tokens.shared:
        cells.append(_cell(GREEN, tokens.shared))
    if tokens.constant:
        cells.append(_cell(GREY, f"{tokens.constant}"))
    if tokens.values:
        cells.append(_cell(AMBER, excerpt(tokens.values)))
    return (
        '<table border="0" cellborder="0" cellspacing="1" cellpadding="6"><tr>'
        f"{''.join(cells)}</tr></table>"
    )


def _cell(colour: str, text: str) -> str:
    return f'<td bgcolor="{colour}"><font point-size="10">{escape(text)}</font></td>'


def _shared(node: Node) -> str:
    return (
        f'<table border="1" cellborder="0" cellspacing="0" cellpadding="4" style="rounded" '
        f'bgcolor="{GREEN}" color="{GREEN_LINE}"><tr><td><b>{escape(node.title)}</b><br/>'
        f'<font point-size="9" color="{FAINT}">{escape(excerpt(node.detail))}</font>'
        "</td></tr></table>"
    )


def excerpt(text: str) -> str:
    """The beginning of a text on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT else flat[: EXCERPT - 1] + "…"


def _small(text: str) -> str:
    return f' <font point-size="10" color="{FAINT}">{escape(text)}</font>' if text else ""


def _legend(pictures: Sequence[Picture]) -> list[str]:
    """What the colours mean, of those that occur."""
    nodes = [node for picture in pictures for node in picture.nodes]
    cells = [(GREEN, "read once for several calls"), (GREY, "constant"), (AMBER, "varies")]
    if any(node.critical for node in nodes):
        cells.append(("white", f'<font color="{RED}"><b>―</b></font> critical path'))
    if any(node.group is not None for node in nodes):
        cells.append(("white", f'<font color="{GROUPS[0]}"><b>▌</b></font> calls awaited together'))
    inner = "".join(
        f'<td bgcolor="{colour}"><font point-size="9">{text}</font></td>' for colour, text in cells
    )
    return [
        '  "legend" [label=<<table border="0" cellborder="0" cellspacing="4" cellpadding="3">'
        f"<tr>{inner}</tr></table>>]",
        *(f'  "p{n}result" -> "legend" [style=invis]' for n, _ in enumerate(pictures)),
    ]

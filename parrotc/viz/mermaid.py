"""A picture as a Mermaid flowchart, which GitHub and many editors draw where it stands."""

from collections.abc import Sequence

from parrotc.viz.dot import AMBER, GREEN, GREEN_LINE, RED, excerpt
from parrotc.viz.graph import Node, Picture


def as_mermaid(pictures: Sequence[Picture]) -> str:
    """The pictures as one flowchart."""
    lines, links = ["flowchart TB"], 0
    styles: list[str] = []
    for number, picture in enumerate(pictures):
        names = {node.name: f"p{number}n{index}" for index, node in enumerate(picture.nodes)}
        lines.append(f'  subgraph p{number}["{_text(picture.title)}"]')
        lines += _inside(picture, names, None, f"p{number}", "    ")
        for edge in picture.edges:
            arrow = "-.->" if edge.shared else "==>" if edge.critical else "-->"
            lines.append(f"    {names[edge.start]} {arrow} {names[edge.end]}")
            if edge.shared or edge.critical:
                styles.append(f"  linkStyle {links} stroke:{GREEN_LINE if edge.shared else RED}")
            links += 1
        lines.append("  end")
        styles += [
            f"  class {names[node.name]} {node.kind}"
            for node in picture.nodes
            if node.kind in ("shared", "call")
        ]
    lines += [*styles, f"  classDef shared fill:{GREEN},stroke:{GREEN_LINE}"]
    return "\n".join([*lines, f"  classDef call fill:#ffffff,stroke:{AMBER}", ""])


def _inside(
    picture: Picture, names: dict[str, str], box: str | None, prefix: str, margin: str
) -> list[str]:
    lines = [f"{margin}{_node(node, names)}" for node in picture.nodes if node.box == box]
    for inner in picture.boxes:
        if inner.box == box:
            name = prefix + inner.name.replace(":", "")
            lines.append(f'{margin}subgraph {name}["{_text(inner.title)}"]')
            lines += _inside(picture, names, inner.name, prefix, margin + "  ")
            lines.append(f"{margin}end")
    return lines


def _node(node: Node, names: dict[str, str]) -> str:
    lines = [f"<b>{_text(node.title)}</b>"]
    if node.tokens:
        parts = (node.tokens.shared, str(node.tokens.constant or ""), node.tokens.values)
        lines.append(_text(" + ".join(filter(None, parts))))
    if node.detail:
        lines.append(_text(excerpt(node.detail)))
    opening, closing = ("[", "]") if node.kind == "call" else ("(", ")")
    return f'{names[node.name]}{opening}"{"<br/>".join(lines)}"{closing}'


def _text(text: str) -> str:
    """Text that Mermaid takes as such inside quotes."""
    for sign, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(sign, entity)
    return text

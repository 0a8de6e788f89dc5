"""A drawing from its Graphviz text: by the `dot` program, or by the library that brings its own."""

import shutil
import subprocess
import sys
from importlib.util import find_spec

# in a process of its own: the library is C, and prints warnings about fonts that nobody asked for
_DRAW = """
import sys
from pygraphviz import AGraph
sys.stdout.buffer.write(AGraph(string=sys.stdin.read()).draw(format="svg", prog="dot"))
"""


class NoGraphviz(Exception):
    """Neither is installed."""


def as_svg(dot: str) -> str:
    """The drawing as SVG. Raises `NoGraphviz`."""
    program = shutil.which("dot")
    if program is None and find_spec("pygraphviz") is None:
        raise NoGraphviz
    command = [program, "-Tsvg"] if program else [sys.executable, "-c", _DRAW]
    done = subprocess.run(command, input=dot, capture_output=True, check=True, encoding="utf-8")
    return done.stdout

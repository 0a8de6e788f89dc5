"""Diagnostics on stderr: for people in colour or plain, for tools as JSON, GitHub or SARIF.

Colour only on a terminal, never with `NO_COLOR` or `TERM=dumb`; `PARROTC_COLOR` may force it.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from parrotc.ir.diagnostic import Diagnostic, Level
from parrotc.ir.source import Span

FORMATS = ("text", "json", "github", "sarif")
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def write(diagnostics: Sequence[Diagnostic], format_: str) -> None:
    """Print diagnostics on stderr. An empty list prints a document too, where the format is one."""
    if format_ == "text":
        _write_text(diagnostics)
        return
    text = {"json": as_json, "github": as_github, "sarif": as_sarif}[format_](diagnostics)
    if text:
        click.echo(text, err=True)


def in_colour(stream: IO[Any]) -> bool:
    """Whether to use colour on a stream."""
    wanted = os.environ.get("PARROTC_COLOR", "auto")
    if wanted != "auto":
        return wanted == "always"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


# --- text ---


def _write_text(diagnostics: Sequence[Diagnostic]) -> None:
    colour = in_colour(sys.stderr)
    for diagnostic in diagnostics:
        text = diagnostic.render()
        click.echo((coloured(text) if colour else text) + "\n", err=True, color=colour)
    if len(diagnostics) > 1:
        click.echo(summary(diagnostics), err=True)


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    errors = sum(d.level is Level.ERROR for d in diagnostics)
    counts = [_count(errors, "error"), _count(len(diagnostics) - errors, "warning")]
    return " and ".join(filter(None, counts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}" if number else ""


def coloured(text: str) -> str:
    """A rendered diagnostic with its parts coloured, line by line."""
    head, *lines = text.split("\n")
    level, _, message = head.partition(": ")
    colour = "red" if level.startswith("error") else "yellow"
    first = click.style(level, fg=colour, bold=True) + click.style(f": {message}", bold=True)
    return "\n".join([first, *(_coloured_line(line, colour) for line in lines)])


def _coloured_line(line: str, colour: str) -> str:
    if line.startswith("help: "):
        return click.style("help", fg="green", bold=True) + line[4:]
    start, bar, rest = line.partition(" | ")
    if bar and rest.lstrip()[:1] in ("^", "-") and not start.strip():
        strong = colour if rest.lstrip()[0] == "^" else "blue"
        return click.style(start + bar, fg="blue") + click.style(rest, fg=strong, bold=True)
    if bar and start.strip().isdigit():
        return click.style(start + bar, fg="blue") + rest
    return click.style(line, fg="blue") if line.strip(" |") == "" else line


# --- for tools ---


def as_json(diagnostics: Sequence[Diagnostic]) -> str:
    """A list of findings, with every place as lines and columns and as character offsets."""
    return json.dumps([_plain(d) for d in diagnostics], ensure_ascii=False, indent=2)


def _plain(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "code": diagnostic.code,
        "level": str(diagnostic.level),
        "message": diagnostic.message,
        "place": _place(diagnostic.span),
        "label": diagnostic.label,
        "labels": [{"place": _place(one.span), "text": one.text} for one in diagnostic.labels],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


def _place(span: Span | None) -> dict[str, Any] | None:
    if span is None:
        return None
    line, column, end_line, end_column = _corners(span)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "start": span.start,
        "end": span.end,
    }


def _corners(span: Span) -> tuple[int, int, int, int]:
    return *span.position(), *span.source.position(span.end)


def as_github(diagnostics: Sequence[Diagnostic]) -> str:
    """Workflow commands: GitHub shows each at its line of a pull request."""
    return "\n".join(map(_github, diagnostics))


def _github(diagnostic: Diagnostic) -> str:
    place = ""
    if diagnostic.span is not None:
        line, column, end_line, end_column = _corners(diagnostic.span)
        name = _escaped(diagnostic.span.source.name).replace(":", "%3A").replace(",", "%2C")
        place = f"file={name},line={line},col={column},endLine={end_line},endColumn={end_column},"
    details = [diagnostic.message, *diagnostic.notes, *filter(None, [diagnostic.help])]
    message = _escaped("\n".join(details))
    return f"::{diagnostic.level} {place}title={diagnostic.code}::{message}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def as_sarif(diagnostics: Sequence[Diagnostic]) -> str:
    """A SARIF 2.1.0 log with one run."""
    rules = [{"id": code} for code in sorted({d.code for d in diagnostics})]
    run = {
        "tool": {"driver": {"name": "parrotc", "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(d) for d in diagnostics],
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(diagnostic: Diagnostic) -> dict[str, Any]:
    details = [diagnostic.message, *diagnostic.notes, *filter(None, [diagnostic.help])]
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "level": str(diagnostic.level),
        "message": {"text": "\n".join(details)},
    }
    if diagnostic.span is not None:
        result["locations"] = [_location(diagnostic.span)]
    if diagnostic.labels:
        result["relatedLocations"] = [
            _location(label.span) | {"message": {"text": label.text}} for label in diagnostic.labels
        ]
    return result


def _location(span: Span) -> dict[str, Any]:
    line, column, end_line, end_column = _corners(span)
    region = {
        "startLine": line,
        "startColumn": column,
        "endLine": end_line,
        "endColumn": end_column,
    }
    uri = span.source.name.replace("\\", "/")
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}

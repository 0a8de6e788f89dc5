"""Outcomes as JUnit XML, as CI servers read it."""

import xml.etree.ElementTree as xml
from collections.abc import Mapping, Sequence

from parrotc.ir.diagnostic import Diagnostic
from parrotc.testing.suite import Outcome


def as_junit(
    outcomes: Mapping[str, Sequence[Outcome]], broken: Mapping[str, Sequence[Diagnostic]]
) -> str:
    """The document: a suite for each file, an error for each file that does not compile."""
    root = xml.Element("testsuites", name="parrotc")
    for file in dict.fromkeys([*outcomes, *broken]):
        found, errors = outcomes.get(file, ()), broken.get(file, ())
        suite = xml.SubElement(
            root,
            "testsuite",
            name=file,
            tests=str(len(found) + bool(errors)),
            failures=str(sum(not outcome.passed for outcome in found)),
            errors=str(int(bool(errors))),
            time=f"{sum(outcome.seconds for outcome in found):.3f}",
        )
        for outcome in found:
            case = _case(suite, file, outcome.test.name, outcome.seconds)
            _told(case, "failure", outcome.failures)
            _told(case, "system-err", outcome.warnings)
        if errors:
            _told(_case(suite, file, "compiles", 0.0), "error", errors)
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: xml.Element, file: str, name: str, seconds: float) -> xml.Element:
    attributes = {"classname": file, "name": _written(name), "time": f"{seconds:.3f}"}
    return xml.SubElement(suite, "testcase", attributes)


def _told(case: xml.Element, kind: str, found: Sequence[Diagnostic]) -> None:
    if not found:
        return
    element = xml.SubElement(case, kind)
    if kind != "system-err":
        element.set("type", found[0].code)
        element.set("message", _written(found[0].message))
    element.text = _written("\n\n".join(one.render() for one in found))


def _written(text: str) -> str:
    """Without the control characters that XML cannot say."""
    return "".join(c if c in "\n\t" or c >= " " else "�" for c in text)

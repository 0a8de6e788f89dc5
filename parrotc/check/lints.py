"""Warnings that need types and names, but no plan."""

from parrotc.check.program import Program
from parrotc.check.session import File, Session


def lint(session: Session, program: Program, files: tuple[File, ...]) -> None:
    pass

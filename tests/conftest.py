"""Options shared by every test: `--update` rewrites the outputs of text cases (see casefile.py)."""

import os

import pytest
from hypothesis import settings

# CI looks at the same examples each time: what it finds is about the change, not about luck
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite expected outputs of case files")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether case files are to be rewritten rather than compared."""
    return bool(request.config.getoption("--update"))

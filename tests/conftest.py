"""Options shared by every test: `--update` rewrites the outputs of text cases (see casefile.py)."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite expected outputs of case files")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether case files are to be rewritten rather than compared."""
    return bool(request.config.getoption("--update"))

"""These tests need the client of the protocol and, for the stand-ins, a server."""

import pytest

pytest.importorskip("openai")
pytest.importorskip("aiohttp")

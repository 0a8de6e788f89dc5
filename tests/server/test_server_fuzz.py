"""Nothing that a client sends ends the server: every route, with what no client would send."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from fronted import ThreadedFront, threaded
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
NAMES = (
    "model", "messages", "prompt", "session_id", "session_auth", "template", "parameters",
    "inputs", "criteria", "timeout", "engine_config", "engine_id", "var_name", "content", "n",
    "stop", "response_format", "func_name", "func_code", "url", "seed", "stream",
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
bodies = st.binary(max_size=200) | (values | objects).map(lambda v: json.dumps(v).encode())


@pytest.fixture(scope="module")
def front() -> Iterator[ThreadedFront]:
    with threaded(max_get=0.2, max_body=100_000) as front:
        yield front


def send(front: ThreadedFront, method: str, path: str, body: bytes, **headers: str) -> int:
    url = urlsplit(front.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        raw = answer.read()
        if "json" in (answer.getheader("Content-Type") or ""):
            json.loads(raw)
        return answer.status
    finally:
        connection.close()


def is_alive(front: ThreadedFront) -> bool:
    return send(front, "GET", "/health", b"") == 200


@FEW
@given(data=st.data())
def test_any_bytes_to_any_route(front: ThreadedFront, data: st.DataObject) -> None:
    for method, path in front.routes:
        for name in ("session_id", "var_id", "name", "flow", "run_id", "model"):
            text = data.draw(st.text(min_size=1, max_size=8))
            path = path.replace(f"{{{name}}}", quote(text, safe=""))
        status = send(front, method, path, data.draw(bodies), **front.session)
        assert status < 500, (method, path)
    assert is_alive(front)


@FEW
@given(raw=st.binary(max_size=300))
def test_what_is_no_http(front: ThreadedFront, raw: bytes) -> None:
    import socket

    url = urlsplit(front.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as one:
        one.sendall(raw)
    assert is_alive(front)


@FEW
@given(headers=st.dictionaries(
    st.sampled_from(["Authorization", "X-Request-Id", "Accept", "Parrotc-Session",
                     "Parrotc-Session-Token", "Content-Encoding", "Content-Type", "Expect"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
))  # fmt: skip
def test_any_headers(front: ThreadedFront, headers: dict[str, str]) -> None:
    body = json.dumps({"model": "m", "messages": []}).encode()
    assert send(front, "POST", "/v1/chat/completions", body, **headers) < 500
    assert send(front, "GET", "/v1/semantic_var", b"", **headers) < 500

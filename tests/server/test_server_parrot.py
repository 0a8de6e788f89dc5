"""Parrot's routes with its payloads, and our headers: sessions, calls, variables."""

import asyncio
import base64
import marshal
from collections.abc import AsyncIterator

import pytest
from fronted import Front, Parrot, fronted
from served import Gated, until

JOKE = "A joke about {{topic}}: {{joke}}"
TOPIC = {"name": "topic", "is_output": False, "value": "parrots"}
OUT = {"name": "joke", "is_output": True, "sampling_config": {"max_gen_length": 8}}


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with fronted(max_get=5.0, natives=("externs:shout",)) as front:
        yield front


@pytest.fixture
async def parrot(front: Front) -> Parrot:
    return await front.parrot()


# --- calls and variables ---


async def test_a_call(front: Front, parrot: Parrot) -> None:
    taken = await parrot.call(JOKE, [TOPIC, OUT])
    assert taken["session_id"] == parrot.session_id and taken["request_id"]
    assert taken["param_info"] == taken["created_vars"]
    (joke,) = [one["var_id"] for one in taken["param_info"] if one["is_output"]]
    status, value = await parrot.ask("GET", f"/v1/semantic_var/{joke}", {"criteria": "latency"})
    assert status == 200 and value["content"]
    assert value["content"] == (await front.says("A joke about parrots: "))[: len(value["content"])]


async def test_the_same_with_headers_and_a_query(front: Front, parrot: Parrot) -> None:
    joke = await parrot.output(JOKE, [TOPIC, OUT])
    found = await front.ask(
        "GET", f"/v1/semantic_var/{joke}?criteria=throughput&timeout=3", headers=parrot.headers
    )
    assert found == await parrot.ask("GET", f"/v1/semantic_var/{joke}", {})


async def test_what_one_call_makes_another_reads(parrot: Parrot) -> None:
    joke = await parrot.output(JOKE, [TOPIC, OUT])
    last = await parrot.output(
        "{{joke}} Is it funny? {{verdict}}",
        [{"name": "joke", "is_output": False, "var_id": joke}, {**OUT, "name": "verdict"}],
    )
    status, value = await parrot.ask("GET", f"/v1/semantic_var/{last}", {})
    assert status == 200 and value["content"]


async def test_a_variable_that_a_client_sets(parrot: Parrot) -> None:
    status, made = await parrot.ask("POST", "/v1/semantic_var", {"var_name": "topic"})
    assert status == 200 and made["state"] == "empty"
    joke = await parrot.output(
        JOKE, [{"name": "topic", "is_output": False, "var_id": made["var_id"]}, OUT]
    )
    waiting = asyncio.create_task(parrot.ask("GET", f"/v1/semantic_var/{joke}", {}))
    path = f"/v1/semantic_var/{made['var_id']}"
    assert (await parrot.ask("POST", path, {"content": "cats"}))[0] == 200
    assert (await waiting)[0] == 200
    status, answer = await parrot.ask("POST", path, {"content": "dogs"})
    assert (status, answer["error"]["code"]) == (409, "conflict")
    status, listed = await parrot.ask("GET", "/v1/semantic_var", {})
    assert {one["var_name"]: one["state"] for one in listed["vars"]}["topic"] == "ready"


async def test_a_text_as_events() -> None:
    engine = Gated()
    async with fronted(engine) as front:
        parrot = await front.parrot()
        joke = await parrot.output(JOKE, [TOPIC, OUT])
        headers = {**parrot.headers, "Accept": "text/event-stream"}
        async with front.http.get(
            f"{front.url}/v1/semantic_var/{joke}", headers=headers
        ) as response:
            assert response.content_type == "text/event-stream"
            first = await response.content.readuntil(b"\n\n")
            assert first.startswith(b"event: text\ndata: ")
            engine.gate.set()
            rest = await response.text()
    assert "event: value\ndata: " in rest


async def test_a_value_is_never_a_template(front: Front, parrot: Parrot) -> None:
    """C9: braces in a value are text."""
    sly = await parrot.output(JOKE, [{**TOPIC, "value": "{{joke}} and {{topic}}"}, OUT])
    status, value = await parrot.ask("GET", f"/v1/semantic_var/{sly}", {})
    said = await front.says("A joke about {{joke}} and {{topic}}: ")
    assert status == 200 and said.startswith(value["content"])


async def test_a_fault_of_the_template_has_its_place(parrot: Parrot) -> None:
    status, answer = await parrot.ask(
        "POST", "/v1/semantic_call", {"template": "About {{topik}}: {{joke}}",
                                      "parameters": [TOPIC, OUT]},
    )  # fmt: skip
    assert status == 400
    assert answer["error"]["span"]["column"] == 7 and "topic" in answer["error"]["help"]


# --- natives ---


async def test_code_is_refused(parrot: Parrot) -> None:
    """S1: natives never travel as code."""
    code = base64.b64encode(marshal.dumps(compile("1", "x", "eval"))).decode()
    status, answer = await parrot.ask(
        "POST", "/v1/py_native_call", {"func_name": "f", "func_code": code, "parameters": []}
    )
    assert status == 400 and "code is not run here" in answer["error"]["message"]


@pytest.mark.parametrize("name", ["os:system", "system", "externs:secret", "x" * 200])
async def test_a_function_that_is_not_allowed(parrot: Parrot, name: str) -> None:
    status, answer = await parrot.ask(
        "POST", "/v1/py_native_call", {"func_name": name, "parameters": []}
    )
    assert status == 400 and answer["error"]["code"] == "invalid"


# --- who ---


async def test_sessions(front: Front, parrot: Parrot) -> None:
    path = f"/v1/session/{parrot.session_id}"
    status, info = await parrot.ask("GET", path, {})
    assert status == 200 and info["session_id"] == parrot.session_id and info["vars"] == 0
    assert (await parrot.ask("DELETE", path, {}))[0] == 200
    assert (await parrot.ask("GET", path, {}))[0] == 401
    assert (await parrot.ask("GET", "/v1/semantic_var", {}))[0] == 401


SESSION_ROUTES = [
    ("GET", "/v1/session/{}"), ("DELETE", "/v1/session/{}"), ("GET", "/v1/semantic_var"),
    ("POST", "/v1/semantic_var"), ("POST", "/v1/semantic_call"), ("POST", "/v1/py_native_call"),
    ("GET", "/v1/semantic_var/x"), ("POST", "/v1/semantic_var/x"), ("DELETE", "/v1/semantic_var/x"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), SESSION_ROUTES)
async def test_every_route_of_a_session_wants_its_token(
    front: Front, parrot: Parrot, method: str, path: str
) -> None:
    """S1. Whatever is wrong, the answer is the same: who guesses learns nothing."""
    other = await front.parrot()
    body = {"content": "x", "var_name": "x", "template": "x {{a}}", "func_name": "f",
            "parameters": []}  # fmt: skip
    known = {
        "POST/v1/semantic_var": ("var_name",), "POST/v1/semantic_var/x": ("content",),
        "POST/v1/semantic_call": ("template", "parameters"),
        "POST/v1/py_native_call": ("func_name", "parameters"),
    }  # fmt: skip
    said = {name: body[name] for name in known.get(method + path, ())}
    answers = []
    for name, token in (
        (parrot.session_id, ""), (parrot.session_id, "x"), (parrot.session_id, other.token),
        ("nobody", other.token), ("", ""),
    ):  # fmt: skip
        answers.append(
            await front.ask(
                method,
                path.format(name or "none"),
                {**said, "session_id": name, "session_auth": token},
            )
        )
    assert answers[0][0] == 401 and all(answer == answers[0] for answer in answers)


async def test_another_sessions_variable_is_not_there(front: Front, parrot: Parrot) -> None:
    """S1: not read, not set, not used, and not told apart from one that never was."""
    _, made = await parrot.ask("POST", "/v1/semantic_var", {"var_name": "x", "content": "mine"})
    other = await front.parrot()
    for name in (made["var_id"], "v-never"):
        path = f"/v1/semantic_var/{name}"
        for method, body in (("GET", {}), ("POST", {"content": "x"}), ("DELETE", {})):
            status, answer = await other.ask(method, path, body)
            assert (status, answer["error"]["code"]) == (404, "not_found")
        status, _ = await other.ask(
            "POST", "/v1/semantic_call",
            {"template": JOKE, "parameters": [{"name": "topic", "var_id": name}, OUT]},
        )  # fmt: skip
        assert status == 404


@pytest.fixture
async def guarded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    monkeypatch.setenv("CORE_KEYS", "alice k-alice\nbob k-bob\noperator k-op\n")
    async with fronted(keys_env="CORE_KEYS", operators=("operator",)) as front:
        yield front


async def test_every_route_but_health_wants_a_key(guarded: Front) -> None:
    """Routes of a session want its token: `test_every_route_of_a_session_wants_its_token`."""
    ours = [(method, path) for method, path in guarded.routes if path != "/health"]
    for method, path in ours:
        if (method, path.replace("{session_id}", "{}").replace("{var_id}", "x")) in SESSION_ROUTES:
            continue
        path = path.replace("{", "").replace("}", "")
        for key in (None, "k-nobody"):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            status, answer = await guarded.ask(method, path, {}, headers=headers)
            assert (status, answer["error"]["type"]) == (401, "authentication_error"), path
    assert len(ours) - len(SESSION_ROUTES) > 15
    assert (await guarded.ask("GET", "/health"))[0] == 200


async def test_a_key_in_parrots_body(guarded: Front) -> None:
    assert (await guarded.ask("POST", "/v1/session", {"api_key": "k-alice"}))[0] == 200
    assert (await guarded.ask("POST", "/v1/session", {"api_key": "k-no"}))[0] == 401
    assert (await guarded.ask("POST", "/v1/session", {}))[0] == 401


async def test_what_is_the_operators(guarded: Front) -> None:
    for key, wanted in (("k-alice", 401), ("k-op", 200)):
        headers = {"Authorization": f"Bearer {key}"}
        async with guarded.http.get(f"{guarded.url}/metrics", headers=headers) as response:
            assert response.status == wanted
        assert (await guarded.ask("GET", "/v1/engines", headers=headers))[0] == wanted


# --- getters end ---


async def test_a_getter_of_what_nobody_sets_ends(parrot: Parrot) -> None:
    """R2: with a timeout, and the work goes on."""
    _, made = await parrot.ask("POST", "/v1/semantic_var", {"var_name": "x"})
    path = f"/v1/semantic_var/{made['var_id']}"
    status, answer = await parrot.ask("GET", path, {"timeout": 0.05})
    assert (status, answer["error"]["code"]) == (408, "timeout")
    assert (await parrot.ask("POST", path, {"content": "now"}))[0] == 200
    assert (await parrot.ask("GET", path, {"timeout": 1})) == (200, {"content": "now"})


async def test_a_getter_ends_when_its_session_does() -> None:
    async with fronted(Gated()) as front:
        parrot = await front.parrot()
        joke = await parrot.output(JOKE, [TOPIC, OUT])
        waiting = asyncio.create_task(parrot.ask("GET", f"/v1/semantic_var/{joke}", {}))
        await until(lambda: front.engine.open == 1)
        await parrot.ask("DELETE", f"/v1/session/{parrot.session_id}", {})
        status, answer = await waiting
        assert status in (404, 409), answer
        await until(lambda: front.engine.open == 0)

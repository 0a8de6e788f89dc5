"""Endpoints that read text as engines of a config: Parrot's words for them, Azure, keys, a core."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cores import call, given, made, output, session_of
from endpoints import Standin, standin
from fakes import finish
from fronted import fronted
from served import served

from parrotc.driver import compile_source
from parrotc.ir.source import Source
from parrotc.runtime.core.config import CoreConfig, read_core_config
from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.engines.config import EngineConfig, open_configured, read_config
from parrotc.runtime.engines.configfile import ConfigError
from parrotc.runtime.engines.http.remote import fetch_handshake, open_remote
from parrotc.runtime.engines.protocol import (
    Engine,
    FillRequest,
    GenerateRequest,
    Sampling,
    new_context,
)
from parrotc.runtime.server.openai.prompts import of_messages
from parrotc.runtime.server.openai.requests import Message
from parrotc.runtime.texts import ALPHABET, Said, messages, written
from parrotc.served import services
from parrotc.targets import load_target

ROOT = Path(__file__).parents[3]
KEY = "sk-0123456789"
PARROTS = """{
    "model": "gpt35turobo4k", // Your deployment name
    "engine_name": "Azure-OpenAI-GPT-3.5-Turbo-4K",
    "host": "localhost",
    "port": 9001,
    "engine_type": "openai", // Engine type. Use `openai` here.
    "random_seed": 0,
    "tasks_capacity": 64,
    "instance": {
        "api_endpoint": "completion",
        "is_azure": true,
        "azure_api_version": "2023-07-01-preview",
        "azure_endpoint": "https://example.openai.azure.com"
    },
    "scheduler": {
        "max_batch_size": 256,
        "max_num_batched_tokens": 99999999,
        "max_total_tokens": 99999999
    },
    "serve_core": {"host": "localhost", "port": 9000}
}"""


def read(folder: Path, text: str) -> tuple[EngineConfig, list[str]]:
    (folder / "engine.json").write_text(text, "utf-8")
    return read_config(folder / "engine.json")


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)


def azure(server: Standin, **more: Any) -> EngineConfig:
    """The stand-in as an engine of Azure."""
    return EngineConfig(
        engine="azure",
        model="mine",
        endpoint=server.url.removesuffix("/v1"),
        api_version="2025-01-01",
        key_env="MY_KEY",
        **more,
    )


# --- what a file says ---


def test_parrots_file(tmp_path: Path) -> None:
    config, notes = read(tmp_path, PARROTS)
    assert (config.engine, config.spec, config.served) == ("azure", *["gpt35turobo4k"] * 2)
    assert config.endpoint == "https://example.openai.azure.com"
    assert (config.api_version, config.api_endpoint) == ("2023-07-01-preview", "completion")
    assert (config.max_requests, config.serve_core is not None) == (64, True)
    batches = ["max_batch_size", "max_num_batched_tokens", "max_total_tokens"]
    assert [note.split("`")[1] for note in notes] == batches


def test_a_config_holds_no_key_and_no_error_shows_it(tmp_path: Path) -> None:
    """Not that of another setting on the same line, and not where the file is no JSON either."""
    for text in (
        f'{{"engine": "openai", "instance": {{"api_key": "{KEY}"}}, "prot": 1}}',
        f'{{"engine": "openai", "api_key" : "{KEY}",, "port": 1}}',
        f'{{"engine": "openai", "api_key": "{KEY}\\" still, "port": 1}}',
    ):
        with pytest.raises(ConfigError) as caught:
            read(tmp_path, text)
        assert KEY not in str(caught.value) and "still" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'{{"engine": "openai",\n "api_key": "{KEY}"}}')
    said = str(caught.value)
    assert "`api_key` is a secret" in said and ":2:13" in said
    assert "environment variable that holds it: `key_env`" in said


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ('{"is_azure": true}', "the engine `embedded` is none of Azure's", ":1:14"),
        ('{"engine": "azure"}', "needs `model`, the name of its deployment", ":1:1"),
        ('{"engine": "openai", "is_azure": true}', "needs `model`", ":1:1"),
        ('{"engine": "openai", "api_endpoint": "chats"}', "`api_endpoint`", ":1:38"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, words: str, at: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value) and at in str(caught.value)


def test_settings_of_endpoints_change_nothing_elsewhere(tmp_path: Path) -> None:
    _, notes = read(tmp_path, '{"engine": "reference", "base_url": "http://x", "timeout": 3}')
    assert [note.split("`")[1] for note in notes] == ["base_url", "timeout"]


def test_the_config_of_the_page_is_right(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "endpoints.md").read_text("utf-8")
    [text] = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    config, notes = read(tmp_path, text)
    assert (config.engine, config.served, notes) == ("azure", "my-deployment", [])


def test_a_core_reads_it_among_its_engines(tmp_path: Path) -> None:
    (tmp_path / "core.json").write_text(f'{{"engines": [{PARROTS}]}}', "utf-8")
    config, _ = read_core_config(tmp_path / "core.json")
    assert [one.engine for one in config.engines] == ["azure"]


def test_what_was_read_is_read_again(tmp_path: Path) -> None:
    """`parrotc launch` writes the engines of its file into files of their own."""
    config, _ = read(tmp_path, PARROTS)
    again, _ = read(tmp_path, json.dumps(config.model_dump(exclude_unset=True)))
    assert again == config


def test_the_variable_of_the_key_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "another")
    config = EngineConfig(engine="openai", base_url="http://localhost:1", key_env="MY_KEY")
    with pytest.raises(ValueError, match="the environment variable `MY_KEY` is not set"):
        open_configured(config)


def test_what_azure_needs_is_said() -> None:
    with pytest.raises(ValueError, match="needs `endpoint`"):
        open_configured(EngineConfig(engine="azure", model="mine"))


# --- in a core ---


@asynccontextmanager
async def core_of(config: EngineConfig) -> AsyncIterator[ServeCore]:
    core = ServeCore(CoreConfig(engines=(config,)), services())
    await core.start()
    try:
        yield core
    finally:
        await core.close()


async def asked(core: ServeCore, template: str, *parameters: Any) -> str:
    session = await session_of(core)
    view = await call(core, session, template, *parameters)
    return str(await core.get_variable(session, output(view), timeout=20))


@pytest.mark.usefixtures("_key")
async def test_a_semantic_call_on_azure() -> None:
    """A template has no messages, so it is the user's."""
    async with standin("azure") as server, core_of(azure(server)) as core:
        answer = await asked(core, "Say {{q}}: {{a}}", given("q", "hello {{q}}"), made("a"))
    assert answer
    [seen] = server.seen
    assert seen.path == "/openai/deployments/mine/chat/completions"
    assert seen.body["messages"] == [{"role": "user", "content": "Say hello {{q}}: "}]
    assert seen.headers["api-key"] == KEY


@pytest.mark.usefixtures("_key")
async def test_a_template_with_several_outputs() -> None:
    """What was generated is part of what is asked next."""
    async with standin("azure") as server, core_of(azure(server)) as core:
        session = await session_of(core)
        view = await call(core, session, "One: {{a}} Two: {{b}}", made("a"), made("b"))
        a, b = [await core.get_variable(session, output(view, name), timeout=20) for name in "ab"]
    first, second = (seen.body["messages"][0]["content"] for seen in server.seen)
    assert (first, second) == ("One: ", f"One: {a} Two: ") and b


@pytest.mark.usefixtures("_key")
async def test_raw_text_goes_to_completions_where_the_config_says_so() -> None:
    config_of = {"api_endpoint": "completion", "deployment": "other"}
    async with standin("azure") as server, core_of(azure(server, **config_of)) as core:
        assert await asked(core, "Once upon {{a}}", made("a"))
    [seen] = server.seen
    assert (seen.path, seen.body["prompt"]) == (
        "/openai/deployments/other/completions",
        "Once upon ",
    )


async def test_a_server_with_raw_text_gets_it_unless_chat_is_asked_for() -> None:
    for api_endpoint, name in (("", "completions"), ("chat", "chat/completions")):
        async with standin("vllm") as server:
            config = EngineConfig(engine="openai", base_url=server.url, api_endpoint=api_endpoint)
            async with core_of(config) as core:
                assert core.models() == ["openai"]
                assert await asked(core, "Once upon {{a}}", made("a"))
        assert server.seen[-1].path == f"/v1/{name}"


@pytest.mark.usefixtures("_key")
async def test_the_command_serves_it(tmp_path: Path) -> None:
    async with standin("azure") as server:
        said = azure(server, name="far").model_dump(exclude_unset=True)
        (tmp_path / "engine.json").write_text(json.dumps(said), "utf-8")
        command = [sys.executable, "-m", "parrotc.cli.main", "engine", "--port", "0"]
        process = await asyncio.create_subprocess_exec(
            *command, "--config", str(tmp_path / "engine.json"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
            engine = await asyncio.to_thread(open_remote, url)
            assert await said_by(engine, "Say so") and server.seen[0].headers["api-key"] == KEY
            await engine.close()
            process.terminate()
            _, told = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
    assert "far: mine (openai, reads text) is ready" in told.decode()


async def said_by(engine: Engine, prompt: str) -> str:
    fill, name = new_context(), new_context()
    await engine.fill([FillRequest(fill, None, tuple(engine.tokenizer.encode(prompt)))])
    return (await finish(engine, GenerateRequest(name, fill, Sampling(max_tokens=8)))).text


@pytest.mark.usefixtures("_key")
async def test_an_engine_server_and_a_core_elsewhere() -> None:
    """`parrotc engine` with such a config: its clients know that it reads text."""
    async with standin("azure") as server, served(open_configured(azure(server))) as far:
        told = await asyncio.to_thread(fetch_handshake, far.url)
        assert told.make_tokenizer() is ALPHABET and told.template is None
        assert (await asyncio.to_thread(load_target, "remote", far.url)).target.tokenizer is None
        core = ServeCore(CoreConfig(), services())
        await core.start()
        try:
            await core.register_engine(far.url, model="gpt", name="far")
            answer = await asked(core, "Say {{q}} {{a}}", given("q", "ü€"), made("a"))
        finally:
            await core.close()
    assert answer and server.seen[0].body["messages"][0]["content"] == "Say ü€ "


PROGRAM = """
model gpt = azure("mine", endpoint="https://example.openai.azure.com", api_version="2025-01-01")

@model(gpt)
pfunc say(q: str) -> str:
    system "You are brief."
    user "{{q}}"
    assistant "{{gen max_tokens=8}}"

flow main(q: str) -> str:
    return say(q)
"""


@pytest.mark.usefixtures("_key")
async def test_a_stored_plan_runs_on_the_endpoint_of_its_name() -> None:
    """Whatever address the program names: the core's config says where it is, and the key."""
    plan = compile_source(Source("test.pfn", PROGRAM)).plan.to_json()
    async with standin("azure") as server, core_of(azure(server)) as core:
        tenant = core.tenant(None)
        await core.put_plan(tenant, "p", plan)
        run = await core.invoke(tenant, "p", "main", {"q": "Hi"})
        done = await core.wait_run(tenant, run.id, timeout=20)
    assert done.state == "done", done
    roles = [message["role"] for message in server.seen[0].body["messages"]]
    assert roles == ["system", "user"] and server.seen[0].headers["api-key"] == KEY


# --- chats over OpenAI's routes of a core ---


def test_messages_are_kept_as_they_are() -> None:
    chat = [Message(role="developer", content="Be brief."), Message(role="user", content="Hi")]
    ids = of_messages(chat, ALPHABET, None)
    said = (Said("system", "Be brief."), Said("user", "Hi"), Said("assistant", ""))
    assert messages(ids) == said
    assert messages(written((Said("", "raw"),))) == (Said("", "raw"),)
    assert max(ids) < ALPHABET.vocab_size == max(written((Said("user", ""), Said("tool", "")))) + 1


async def test_a_chat_with_a_core_reaches_the_endpoint_as_it_is() -> None:
    """And an answer of any length is not asked for where nothing was said."""
    async with standin("vllm") as server:
        engine = open_configured(EngineConfig(engine="openai", base_url=server.url))
        async with fronted(engine) as front:
            body = {"model": front.model, "messages": [{"role": "user", "content": "Hi"}]}
            status, answer = await front.ask("POST", "/v1/chat/completions", body)
    assert status == 200 and answer["choices"][0]["message"]["content"], answer
    [seen] = server.seen
    assert seen.body["messages"] == [{"role": "user", "content": "Hi"}]
    assert seen.body["max_tokens"] == 4096

"""`engine.json`: what it may say, what it says wrong, and `parrotc engine` from start to end."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from commands import parrotc

from parrotc.runtime.engines.config import CoreAddress, EngineConfig, open_configured, read_config
from parrotc.runtime.engines.configfile import ConfigError
from parrotc.runtime.models import EMBEDDED, ModelError

ROOT = Path(__file__).parent.parent.parent

PARROTS = """{
    "engine_name": "vicuna-7b-v1.3_local", // just for managing and debugging
    "model": "lmsys/vicuna-7b-v1.3",
    "host": "localhost", "port": 9002, // "a comment", with quotes
    "engine_type": "builtin",
    "random_seed": 3,
    "tokenizer": "hf-internal-testing/llama-tokenizer",
    "fill_chunk_size": -1, // no chunks
    "tasks_capacity": 256,
    "instance": {"num_kv_cache_blocks": 8000, "attn_func": "xformers_with_buffer"},
    "scheduler": {
        "max_batch_size": 256, "max_num_batched_tokens": 2560, "max_total_tokens": 8192
    },
    "serve_core": {"host": "localhost", "port": 9000}
}"""


def read(folder: Path, text: str) -> tuple[EngineConfig, list[str]]:
    path = folder / "engine.json"
    path.write_text(text, "utf-8")
    return read_config(path)


def wrong(folder: Path, text: str) -> str:
    """What is said of it, one finding after another."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value)


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert read(tmp_path, "{}") == (EngineConfig(), [])
    assert EngineConfig().spec == EMBEDDED


def test_the_example_is_right() -> None:
    config, notes = read_config(ROOT / "examples" / "configs" / "engine.json")
    assert (config.engine, config.port, notes) == ("embedded", 9001, [])


def test_parrots_file(tmp_path: Path) -> None:
    config, notes = read(tmp_path, PARROTS)
    assert config == EngineConfig(
        name="vicuna-7b-v1.3_local",
        model="lmsys/vicuna-7b-v1.3",
        port=9002,
        random_seed=3,
        tokenizer="hf-internal-testing/llama-tokenizer",
        fill_chunk_size=-1,
        max_requests=256,
        num_kv_cache_blocks=8000,
        max_batch_size=256,
        max_num_batched_tokens=2560,
        max_total_tokens=8192,
        serve_core=CoreAddress(port=9000),
    )
    assert config.spec == "hf:lmsys/vicuna-7b-v1.3"
    assert [note.split("`")[1] for note in notes] == ["attn_func"]


def test_a_folder_is_not_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert EngineConfig(model="models/tiny").spec == "models/tiny"
    assert EngineConfig(model="models/other").spec == "hf:models/other"
    assert EngineConfig(model="./other").spec == "./other"


def test_everything_wrong_is_shown_at_its_place(tmp_path: Path) -> None:
    said = wrong(
        tmp_path,
        """{
    // a comment moves nothing
    "port": 99999,
    "scheduler": {"max_bach_size": 3, "max_total_tokens": "many"},
    "engine": "gpt"
}""",
    )
    assert said.count("error[E0661]") == 4
    places = re.findall(r"engine\.json:(\d+:\d+)", said)
    assert places == ["3:13", "4:36", "4:59", "5:15"]
    assert "`port` should be less than or equal to 65535" in said
    assert "help: did you mean `max_batch_size`?" in said
    assert "`scheduler.max_total_tokens` should be a valid integer" in said
    assert "'embedded', 'reference', 'transformers', 'openai' or 'azure'" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "a config is a JSON object"),
        ('{"port": 1,}', "not JSON"),
        ('{"port": NaN}', "NaN is no number"),
        ("[" * 100_000, "not JSON"),
        ('{"port": 1.5}', "`port` should be a valid integer"),
        ('{"port": true}', "`port` should be a valid integer"),
        ('{"threads": -1}', "greater than or equal to 0"),
        ('{"lease": 0}', "greater than 0"),
        ('{"device": "gpu"}', "`device` string should match"),
        ('{"engine": "reference", "device": "cuda"}', "runs on the CPU only"),
        ('{"precision": "int3"}', "`precision` should be"),
        ('{"scheduler": 3}', "there is no setting `scheduler`"),
        ('{"name": "a", "engine_name": "b"}', "`name` is given twice"),
        ('{"max_batch_size": 1, "scheduler": {"max_batch_size": 2}}', "is given twice"),
        ('{"instance": {"port": {}}}', "`instance.port`"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    assert words in wrong(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "bytes.json")


def test_settings_that_an_engine_does_not_have_are_told(tmp_path: Path) -> None:
    _, notes = read(tmp_path, '{"engine": "reference", "max_batch_size": 4, "threads": 1}')
    assert [note.split("`")[1] for note in notes] == ["max_batch_size", "threads"]


async def test_settings_arrive(tiny_folder: Path) -> None:
    given = {"precision": "float64", "threads": 1, "max_batch_size": 3, "block_size": 4}
    room = {"num_kv_cache_blocks": 100, "max_total_tokens": 500}  # the smaller of the two
    config = EngineConfig(
        model=str(tiny_folder), fill_chunk_size=-1, max_context=70, **room, **given
    )
    engine = open_configured(config)
    info = await engine.ping()
    assert (info.engine, info.precision, info.context_length) == ("embedded", "float64", 70)
    limits = engine._scheduler._limits
    assert (limits.max_batch_size, limits.block_size, limits.max_total_tokens) == (3, 4, 400)
    assert limits.fill_chunk_size >= 2**31
    await engine.close()


async def test_the_tokenizer_has_to_be_the_models(tmp_path: Path, tiny_folder: Path, small) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    (other / "tokenizer.json").write_text(small("gpt-2").to_json())
    engine = open_configured(EngineConfig(model=str(tiny_folder), tokenizer=str(other)))
    await engine.close()  # it splits text in another way, but its ids mean the same
    tokenizer = json.loads(small("smollm").to_json())
    vocab = tokenizer["model"]["vocab"]
    vocab["!"], vocab["?"] = vocab["?"], vocab["!"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="is not that of"):
        open_configured(EngineConfig(model=str(tiny_folder), tokenizer=str(other)))


# --- the command ---


def test_wrong_configs_end_with_1_and_their_place(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text('{"prot": 1}')
    done = parrotc("engine", "--config", str(path))
    assert (done.code, done.out) == (1, "")
    assert "did you mean `port`?" in done.err
    path.write_text('{"model": "nowhere"}')
    done = parrotc("engine", "--config", str(path))
    assert done.code == 1 and "error[E0610]: there is no model `nowhere`" in done.err
    path.write_text('{"engine": "reference", "host": "256.1.1.1"}')
    done = parrotc("engine", "--config", str(path))
    assert done.code == 1 and "cannot be served" in done.err
    path.write_text('{"max_batch_size": 9, "max_num_batched_tokens": 2}')
    done = parrotc("engine", "--config", str(path))
    assert done.code == 1 and "max_num_batched_tokens" in done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: int) -> None:
    (tmp_path / "engine.json").write_text('{"engine": "reference", "name": "mine", "threads": 2}')
    command = [sys.executable, "-m", "parrotc.cli.main", "engine", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--config", "engine.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:
            assert json.load(answer)["engine"] == "reference"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[0].startswith("note: `threads` changes nothing")
    assert "mine: hash (reference, 1,000,000 tokens) is ready" in err


def test_help_is_quick() -> None:
    """The server is imported when an engine is served, not before."""
    code = "import sys, parrotc.cli.main, parrotc.cli.engine; print('aiohttp' in sys.modules)"
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.strip() == "False"

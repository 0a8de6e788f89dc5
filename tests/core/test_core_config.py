"""`core.json`: what it may say, Parrot's words for it, and what it says wrong."""

import json
import logging
from pathlib import Path

import pytest

from parrotc.runtime.core.config import CoreConfig, read_core_config
from parrotc.runtime.core.log import REQUEST, JsonFormatter, log_to
from parrotc.runtime.engines.configfile import ConfigError

ROOT = Path(__file__).parent.parent.parent
PARROTS = """{
    "host": "localhost", // Host of the server.
    "port": 9000, // Port of the server.
    "max_sessions_num": 2048, // Max number of sessions ServeCore can manage.
    "max_engines_num": 2048,
    "session_life_span": 9999999, // Life span (expiration time) of a session.
    "global_scheduler": { // Config of the global scheduler.
        "app_fifo": false, "graph_group": false, "ctx_group": false, "ctx_aware": false,
        "max_queue_size": 2048
    }
}"""


def read(folder: Path, text: str) -> tuple[CoreConfig, list[str]]:
    (folder / "core.json").write_text(text, "utf-8")
    return read_core_config(folder / "core.json")


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value)


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert read(tmp_path, "{}") == (CoreConfig(), [])


def test_the_example_is_right() -> None:
    config, notes = read_core_config(ROOT / "examples" / "configs" / "core.json")
    assert (config.port, len(config.engines), notes) == (9000, 1, [])


def test_parrots_file_is_understood(tmp_path: Path) -> None:
    config, notes = read(tmp_path, PARROTS)
    assert notes == []
    assert config.session_life_span == 9_999_999
    scheduling = config.scheduling
    switches = [scheduling.app_fifo, scheduling.graph_group, scheduling.ctx_group]
    assert [*switches, scheduling.ctx_aware] == [False] * 4
    assert scheduling.queue_limit == 2048


def test_groups_may_stand_alone_and_policies_are_on(tmp_path: Path) -> None:
    config, _ = read(tmp_path, '{"ctx_aware": false, "limits": {"max_variable": 5}}')
    assert (config.ctx_aware, config.app_fifo, config.max_variable) == (False, True, 5)


def test_shares_reach_the_scheduler(tmp_path: Path) -> None:
    config, _ = read(tmp_path, '{"tenant_weights": {"alice": 2.0}}')
    assert config.scheduling.weights == {"alice": 2.0}


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ('{"prot": 1}', "did you mean `port`?", ":1:10"),
        ('{"global_scheduler": {"app_fifi": true}}', "did you mean `app_fifo`?", ":1:35"),
        ('{"port": "9000"}', "`port` should be a valid integer", ":1:10"),
        ('{"max_runs": 0}', "`max_runs` should be greater than", ":1:14"),
        ('{"natives": ["os.system"]}', "`natives.0`", ":1:14"),
        ('{"tenant_weights": {"a": 1.0, "b": 0}}', "`tenant_weights.b`", ":1:36"),
        ('{"session_life_span": 1e400}', "session_life_span", ":1:23"),
        ('{"port": 1, "global_scheduler": {"port": 2}}', "given twice", ":1:42"),
        ('{"engines": {}}', "a list of engines", ":1:13"),
        ('{"engines": [{}, {"prot": 1}]}', "did you mean `port`?", ":1:27"),
        ("[]", "a JSON object", ":1:1"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(
    tmp_path: Path, text: str, message: str, at: str
) -> None:
    told = wrong(tmp_path, text)
    assert message in told and at in told


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    told = wrong(tmp_path, '{"prot": 1, "engines": [{"prot": 2}, {"device": "tpu"}], "drain": 0}')
    assert told.count("error[E0661]") == 4


def test_engines_are_configs_of_their_own(tmp_path: Path) -> None:
    text = """{"engines": [
        {"engine_type": "builtin", "model": "a/b", "instance": {"attn_func": "x"}},
        {"engine": "reference"}
    ]}"""
    config, notes = read(tmp_path, text)
    assert [engine.served for engine in config.engines] == ["a/b", "reference"]
    assert notes == ["`attn_func` changes nothing: there is one attention, which shares prefixes"
                     " where that pays"]  # fmt: skip


# --- logs ---


def test_a_log_is_lines_of_json_with_the_request(tmp_path: Path) -> None:
    logger = logging.getLogger("parrotc.some.part")
    root = logging.getLogger("parrotc")
    before = root.handlers, root.level, root.propagate
    token = REQUEST.set("5f0c")
    try:
        log_to(str(tmp_path / "logs"), "core.log", "info")
        logger.debug("not this")
        logger.info("it %s", 'went "well"')
        try:
            raise ValueError("bad")
        except ValueError:
            logger.exception("it did not")
    finally:
        REQUEST.reset(token)
        for handler in root.handlers:
            handler.close()
        root.handlers, root.level, root.propagate = before
    first, second = map(json.loads, (tmp_path / "logs" / "core.log").read_text().splitlines())
    assert (first["message"], first["level"], first["request"]) == (
        'it went "well"',
        "info",
        "5f0c",
    )
    assert first["logger"] == "parrotc.some.part" and first["time"].endswith("Z")
    assert "ValueError: bad" in second["error"]


def test_what_has_no_request_says_none() -> None:
    record = logging.LogRecord("parrotc", logging.INFO, "", 0, "hello", (), None)
    assert set(json.loads(JsonFormatter().format(record))) == {"time", "level", "logger", "message"}

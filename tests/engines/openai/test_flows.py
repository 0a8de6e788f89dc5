"""Flows on text endpoints: the same text as on the engine that stands behind the endpoint."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import parrotc as command
from endpoints import Fault, Served, Standin

import parrotc
from parrotc.runtime.trace import Event, Trace

PROGRAM = """
model m = openai("m", base_url=env("HERE"), api_key=env("SECRET"))

enum Mood:
    GOOD "fine"
    BAD "not fine"

class Pair:
    a: int
    b: list[str]

@model(m)
pfunc think(q: str) -> (why: str, mood: Mood, score: int(ge=1, le=5)):
    system "You think about é and <|im_end|>."
    user "{{q}}"
    assistant "Because{{gen why, max_tokens=9, stop="."}}. So{{gen mood}}"
    user "From 1 to 5?"
    assistant "{{gen score}}"

@model(m)
pfunc pair(q: str, words: list[str]) -> Pair:
    user:
        "{{q}}"
        for word in words:
            "- {{word}}"

@model(m)
pfunc raw(q: str) -> str:
    "{{q}}\\nA:{{gen max_tokens=20, stop="\\n"}}"

@model(m)
pfunc code(q: str) -> str(regex="[A-C]{2}-[0-9]+"):
    user "{{q}}"

flow main(qs: list[str]) -> list[str]:
    thoughts = [think(q) for q in qs]
    p = pair(thoughts[0].why, [t.why for t in thoughts])
    text = "start"
    for t in thoughts:
        text = raw("{{text}} {{t.why}} {{t.mood}} {{t.score}} {{p.a}}")
    return [text, code(text), raw(code(text)) if p.a > 3 else raw(text)]

flow short(q: str) -> str:
    return brief(q)

@model(m)
pfunc brief(q: str) -> str:
    "{{q | truncate(tokens=3)}}\\nA:{{gen max_tokens=20, stop="\\n"}}"

flow draws(q: str) -> list[str]:
    return drawn(q) with (n=4)

@model(m)
pfunc drawn(q: str) -> str:
    user "{{q}}"
    assistant "{{gen temperature=1.0, max_tokens=30}}"
"""
SECRET = "sk-very-secret-0123456789"
QS = ["one", "two é", "<|im_start|>user"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with Served("vllm") as there:
        monkeypatch.setenv("HERE", there.url)
        monkeypatch.setenv("SECRET", SECRET)
        yield there


@pytest.mark.parametrize("dialect", ["vllm", "vllm-guided", "sglang", "llamacpp"])
@pytest.mark.parametrize("level", ["O0", "O1"])
def test_a_flow_says_the_same(dialect: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several generations in a message, a fold, a map, types, values like special tokens."""
    monkeypatch.setenv("SECRET", SECRET)
    with parrotc.compile(PROGRAM, engine="reference", level=level) as program:
        expected = program.main(qs=QS)
    with Served(dialect) as server:
        monkeypatch.setenv("HERE", server.url)
        with parrotc.compile(PROGRAM, level=level) as program:
            assert program.main(qs=QS) == expected
            assert program.engines()[0].contexts == 0
        with parrotc.compile(PROGRAM, engine=f"openai:{server.url}", level=level) as program:
            assert program.main(qs=QS) == expected


def test_draws_differ_and_come_again(server: Standin) -> None:
    with parrotc.compile(PROGRAM) as program:
        first = program.draws(q="x")
        assert len(set(first)) > 1
        assert program.draws(q="x") == first
    assert len({seen.body["seed"] for seen in server.seen}) == 4


def test_tokens_are_counted_roughly_where_nobody_tells(server: Standin) -> None:
    with parrotc.compile(PROGRAM) as program:
        program.short(q="abcdefghijklmnop")
    assert server.seen[0].body["prompt"] == "abcdefghijkl\nA:"


def test_text_comes_while_it_is_written_and_costs_are_told(server: Standin) -> None:
    events: list[Event] = []
    trace = Trace(events.append)
    with parrotc.compile(PROGRAM) as program:
        text = program.short.plain({"q": "x"}, trace=trace)
        program.main.plain({"qs": ["one", "one"]}, trace=trace)
    assert "".join(event.text for event in events if event.site.startswith("short")) == text
    counters = trace.counters
    assert counters.tokens_without_sharing > counters.tokens_filled > 0  # some were cached
    assert counters.tokens_generated > 0 and counters.calls_failed == 0


def test_a_failure_is_at_its_place_and_can_be_retried(server: Standin) -> None:
    text = PROGRAM.replace("@model(m)\npfunc brief", "@retry(1)\n@model(m)\npfunc brief")
    with parrotc.compile(PROGRAM) as program:
        server.faults = [Fault(status=400, body={"message": f"bad key {SECRET}"})]
        with pytest.raises(parrotc.RunError) as caught:
            program.short(q="x")
    assert caught.value.diagnostic.code == "E0608" and caught.value.diagnostic.span is not None
    assert SECRET not in str(caught.value)
    with parrotc.compile(text) as program:
        server.faults = [Fault(status=400)]
        assert program.short(q="x")


def test_json_that_nobody_holds_is_checked_and_tried_again(
    server: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "bare.json"
    profile.write_text('{"name": "bare", "json": "", "choices": ""}')
    source = tmp_path / "app.pfn"
    source.write_text(
        'model m = openai("m", base_url=env("HERE"), profile="bare.json")\n\n'
        '@model(m)\npfunc numbers(q: str) -> list[int]:\n    user "{{q}}"\n\n'
        "flow main(q: str) -> list[int]:\n    return numbers(q) with (retry=2)\n"
    )
    server.says = "[1, 2"
    done = command("run", str(source), "q=x")
    assert done.code == 1 and "E0605" in done.err and "not JSON" in done.err
    assert len(server.seen) == 3
    server.says = "[1, 2]"
    assert json.loads(command("run", str(source), "q=x").out) == [1, 2]


def test_the_key_is_in_nothing_that_is_written(server: Standin, tmp_path: Path) -> None:
    source, plan = tmp_path / "app.pfn", tmp_path / "app.pplan"
    source.write_text(PROGRAM)
    trace, kept = tmp_path / "trace.jsonl", tmp_path / "kept.json"
    outputs = [command("compile", str(source), "-o", str(plan), "--dump", str(tmp_path / "dump"))]
    outputs.append(command("plan", f"{source}:short"))
    run = ["run", f"{plan}:short", "q=x", "--trace", str(trace), "--keep", str(kept), "--stats"]
    outputs.append(command(*run))
    for fault in (Fault(status=401, body={"message": SECRET}), Fault(status=500)):
        server.faults = [fault] * 9
        outputs.append(command(*run))
    assert [done.code for done in outputs] == [0, 0, 0, 1, 1]
    assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    written = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    for text in (*written, *(done.out + done.err for done in outputs)):
        assert SECRET not in text


def test_a_program_falls_back_on_a_model_that_reads_tokens(
    server: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan holds its template, also when it comes from a file."""
    text = (
        PROGRAM.replace(
            'api_key=env("SECRET"))', 'api_key=env("SECRET"), retries=0, fallback=[small])'
        )
        + '\nmodel small = builtin("x")\n'
    )
    models = {"small": "reference"}
    with parrotc.compile(text, models=models) as program:
        expected = program.main(qs=QS)
        server.faults = [Fault(status=500) for _ in range(99)]
        assert program.main(qs=QS) == expected
        assert program.plan.models[-1].template or program.plan.models[0].template


def test_dropping_a_call_closes_its_stream(server: Standin) -> None:
    import time

    server.says = "word " * 1000
    server.gate.clear()
    with parrotc.compile(PROGRAM) as program:
        with pytest.raises(TimeoutError):
            program.short.plain({"q": "x"}, timeout=0.5)
        for _ in range(200):
            if server.open == 0:
                break
            time.sleep(0.02)
        assert (server.open, server.closed) == (0, 1)
        assert program.engines()[0].contexts == 0


def test_doctor_finds_out_what_a_server_can_do(server: Standin, tmp_path: Path) -> None:
    from parrotc.runtime.engines.openai.profiles import PRESETS, profile_of

    out = tmp_path / "endpoint.json"
    done = command("doctor", "--engine", server.url, "-o", str(out), "--key", "SECRET")
    assert done.code == 0, done.err
    found, known = profile_of(str(out)), PRESETS["vllm"]
    assert SECRET not in out.read_text() + done.out + done.err
    for name in ("name", "choices", "regex", "json", "prefill", "raw", "options", "seed", "limit"):
        assert getattr(found, name) == getattr(known, name), name
    assert found.logprobs == 5 and found.token_ids and found.most_draws == 2
    assert found.hints == {"priority", "cache_salt", "user"}
    assert "structured_outputs" in done.out and "of 5 tokens" in done.out


@pytest.mark.parametrize(
    ("dialect", "choices", "regex", "json_", "prefill", "stops"),
    [
        ("llamacpp", "grammar", "grammar", "format", "message", 64),
        ("sglang", "regex", "field", "format", "flags", 64),
        ("vllm-guided", "guided", "guided", "guided", "flags", 64),
        ("tgi", "regex", "format", "value", "", 4),
        ("mlc", "schema", "", "text", "", 64),
        ("openai", "schema", "", "strict", "", 4),
    ],
)
def test_doctor_tells_dialects_apart(
    dialect: str, choices: str, regex: str, json_: str, prefill: str, stops: int, tmp_path: Path
) -> None:
    """Also where fields that a server does not know are passed over without a word."""
    from parrotc.runtime.engines.openai.profiles import profile_of

    out = tmp_path / "endpoint.json"
    for is_strict in (True, False):
        with Served(dialect) as server:
            server.is_strict = is_strict
            done = command("doctor", "--engine", f"{server.url}#m", "-o", str(out))
        assert done.code == 0, done.err
        found = profile_of(str(out))
        assert (found.choices, found.regex, found.json) == (choices, regex, json_)
        assert (found.prefill, found.stops) == (prefill, stops)


def test_doctor_says_why_it_found_nothing(server: Standin, tmp_path: Path) -> None:
    out = tmp_path / "endpoint.json"
    for url, words in (("http://127.0.0.1:9", "cannot be reached"), ("nonsense", "no key")):
        done = command("doctor", "--engine", url, "-o", str(out))
        assert done.code == 1 and "E0610" in done.err and words in done.err
    assert not out.exists()


def test_calls_are_told_apart_by_what_they_share(server: Standin) -> None:
    """The plan knows it, so also the first call of a document says which one it is."""
    text = """
model m = openai("m", base_url=env("HERE"), profile="vllm", prefix_header="X-Prefix")

@model(m)
pfunc answer(doc: str, q: str) -> str:
    system "{{doc}}"
    user "{{q}}"
    assistant "{{gen max_tokens=4}}"

flow main(docs: list[str]) -> list[str]:
    return [answer(doc, q) for doc in docs for q in ["a", "b", "c"]]
"""
    documents = [f"{name}: a document of more than sixteen characters" for name in "xy"]
    with parrotc.compile(text) as program:
        program.main(docs=documents)
    headers: dict[str, set[str]] = {}
    for seen in server.seen:
        first = seen.body["messages"][0]["content"][:1]
        headers.setdefault(first, set()).add(seen.headers["x-prefix"])
    assert [len(held) for held in headers.values()] == [1, 1]
    assert headers["x"] != headers["y"]


def test_the_example(server: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the endpoint, and on the model that stands in for it when nobody is there."""
    monkeypatch.setenv("LLM_URL", server.url)
    path = str(Path(__file__).parents[3] / "examples" / "endpoints.pfn")
    run = ["run", path, "minutes=Ann must call the bank.", "--model", "small=reference"]
    there = command(*run)
    assert there.code == 0, there.err
    assert len(server.seen) == 1 + len(json.loads(there.out))
    server.faults = [Fault(status=400) for _ in range(99)]
    assert command(*run).out == there.out


def test_the_page_says_what_can_be_done() -> None:
    from parrotc.runtime.engines.openai.options import NAMES
    from parrotc.runtime.engines.openai.profiles import PRESETS

    page = (Path(__file__).parents[3] / "docs" / "endpoints.md").read_text("utf-8")
    for name in (*NAMES["openai"], *NAMES["azure"], *PRESETS):
        assert f"`{name}`" in page or name in ("unknown", "context"), name
    (program,) = [part.split("```")[0] for part in page.split("```pfn\n")[1:]]
    with parrotc.compile(program) as compiled:
        assert compiled.plan.models[-1].env["base_url"] == "LLM_URL"

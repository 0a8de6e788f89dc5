"""Each server is asked in its own words, and what comes is what the program wants."""

import json

import pytest
from endpoints import Scores, standin
from talking import OPEN, USER, talking

from parrotc.runtime.engines.openai.profiles import PRESETS
from parrotc.runtime.engines.protocol import Constraint, EngineError

SERVERS = ("vllm", "vllm-guided", "sglang", "llamacpp", "tgi", "mlc", "openai")
SCHEMA = json.dumps({
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 9}},
    "required": ["a"],
    "additionalProperties": False,
})  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
async def test_free_text_and_what_it_cost(name: str) -> None:
    async with standin(name) as server, talking(server, profile=name) as talk:
        finished = await talk.ask(("system", "Be brief."), USER, OPEN)
        assert finished.reason in ("end", "length") and finished.text
        assert finished.usage is not None and finished.usage.prompt > 20
        (seen,) = server.seen
        assert seen.path == "/v1/chat/completions"
        assert seen.body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is it?"},
        ]


@pytest.mark.parametrize("name", SERVERS)
async def test_choices(name: str) -> None:
    options = ("good", 'b"a\\d', "a.b|c", "é\n")
    async with standin(name) as server, talking(server, profile=name) as talk:
        constraint = Constraint(choices=options)
        said = {
            (await talk.ask(("user", str(n)), OPEN, constraint=constraint)).text for n in range(12)
        }
    assert said <= set(options) and len(said) > 1


@pytest.mark.parametrize("name", SERVERS)
async def test_json(name: str) -> None:
    async with standin(name) as server, talking(server, profile=name) as talk:
        finished = await talk.ask(
            USER, OPEN, constraint=Constraint(json_schema=SCHEMA), max_tokens=200
        )
        assert isinstance(json.loads(finished.text)["a"], int)
        assert finished.reason == "constraint"


async def test_openai_gets_an_object_in_which_everything_is_required() -> None:
    listed = Constraint(json_schema='{"type":"array","items":' + SCHEMA + "}")
    async with standin("openai") as server, talking(server, profile="openai") as talk:
        server.says = "[1]"
        with pytest.raises(EngineError, match="no `value`"):
            await talk.ask(USER, OPEN, constraint=listed)
        server.says = '{"value": [{"a": 1, "b": "x"}]}'
        finished = await talk.ask(USER, OPEN, constraint=listed)
        assert json.loads(finished.text) == [{"a": 1, "b": "x"}]
        format_ = server.seen[-1].body["response_format"]["json_schema"]
        inner = format_["schema"]["properties"]["value"]["items"]
        assert format_["strict"] is True
        assert inner["required"] == ["a", "b"]
        assert inner["properties"]["b"] == {"type": "string"}


@pytest.mark.parametrize("name", [n for n in SERVERS if PRESETS[n].regex])
async def test_regular_expressions(name: str) -> None:
    async with standin(name) as server, talking(server, profile=name) as talk:
        finished = await talk.ask(USER, OPEN, constraint=Constraint(regex=r"[A-C]{2}-\d+"))
        assert finished.text[:2].strip("ABC") == "" and finished.text[3:].isdigit()


@pytest.mark.parametrize("name", ["openai", "mlc", "unknown"])
async def test_what_a_server_cannot_do_is_said_before_it_is_asked(name: str) -> None:
    async with standin("plain") as server, talking(server, profile=name) as talk:
        for constraint, words in (
            (Constraint(regex="[0-9]"), "regular expressions"),
            (Constraint(choices=("a", "b"), scored=True), "how probable"),
        ):
            with pytest.raises(EngineError, match=words) as caught:
                await talk.ask(USER, OPEN, constraint=constraint)
            assert caught.value.code == "unsupported"
        with pytest.raises(EngineError, match="go on with a message"):
            await talk.ask(USER, ("assistant", "Well,"))
        assert server.seen == []


@pytest.mark.parametrize("name", ["vllm", "sglang", "llamacpp"])
async def test_a_message_that_was_begun_goes_on(name: str) -> None:
    """The stand-in gives another answer to a message that is over."""
    async with standin(name) as server, talking(server, profile=name) as talk:
        finished = await talk.ask(USER, ("assistant", "Well,"))
        whole = await talk.ask(USER, OPEN)
        assert server.seen[0].body["messages"][-1] == {"role": "assistant", "content": "Well,"}
        assert ("continue_final_message" in server.seen[0].body) == (name != "llamacpp")
        assert finished.text != whole.text


@pytest.mark.parametrize("name", ["vllm", "llamacpp", "tgi", "mlc"])
async def test_a_raw_text_goes_on(name: str) -> None:
    async with standin(name) as server, talking(server, profile=name) as talk:
        finished = await talk.ask(("", "Once upon"), stop=("\n",))
        assert "\n" not in finished.text
        assert server.seen[0].path == "/v1/completions"
        assert server.seen[0].body["prompt"] == "Once upon"


async def test_openai_has_no_raw_completion() -> None:
    async with standin("openai") as server, talking(server, profile="openai") as talk:
        with pytest.raises(EngineError, match="no raw completion"):
            await talk.ask(("", "Once upon"))


async def test_probabilities_are_those_of_the_program() -> None:
    """No server's own defaults: all that changes them is said."""
    async with standin("llamacpp") as server, talking(server, profile="llamacpp") as talk:
        await talk.ask(USER, OPEN, temperature=0.7, top_k=5, key=(1 << 63) + 7)
        await talk.ask(USER, OPEN)
        drawn, greedy = (seen.body for seen in server.seen)
    assert (drawn["temperature"], drawn["top_p"], drawn["top_k"]) == (0.7, 1.0, 5)
    assert (drawn["min_p"], drawn["repeat_penalty"], drawn["seed"]) == (0.0, 1.0, 7)
    assert (greedy["temperature"], greedy["top_k"]) == (0.0, 0)
    assert "seed" not in greedy


async def test_stop_texts_hold_even_where_a_server_takes_few() -> None:
    stops = ("1", "2", "3", "4", "x")
    async with standin("tgi") as server, talking(server, profile="tgi") as talk:
        server.says = "abcxdef"
        finished = await talk.ask(USER, OPEN, stop=stops, max_tokens=50)
        assert (finished.text, finished.reason) == ("abc", "stop")
        assert server.seen[0].body["stop"] == ["1", "2", "3", "4"]


async def test_a_stop_text_in_two_pieces_is_never_shown() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "go on, STOP it"  # pieces of three characters
        finished = await talk.ask(USER, OPEN, stop=("STOP",))
        assert finished.text == "go on, "


@pytest.mark.parametrize(
    ("name", "found"),
    [("vllm", "vllm"), ("vllm-guided", "vllm-guided"), ("sglang", "sglang"),
     ("llamacpp", "llamacpp"), ("mlc", "mlc"), ("tgi", "tgi"), ("plain", "unknown")],
)  # fmt: skip
async def test_a_server_that_says_what_it_is_needs_no_profile(name: str, found: str) -> None:
    async with standin(name) as server, talking(server, model="") as talk:
        model, profile = await talk.endpoint._model()
        assert (model, profile.name) == ("m", found)


async def test_one_of_several_models_must_be_named() -> None:
    async with standin() as server, talking(server, model="") as talk:
        server.models = ["a", "b"]
        with pytest.raises(EngineError, match=r"say which model.*: there is a, b"):
            await talk.ask(USER, OPEN)
        server.models = ["a"]
        assert (await talk.ask(USER, OPEN)).text  # it is looked for again
        assert server.seen[-1].body["model"] == "a"


TOKENS = {
    "billing": ("b", "illing"), "bug": ("b", "ug"), "other": ("other",),
    "yes": ("yes",), "yes, but": ("yes", ", but"),
}  # fmt: skip


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "p",
    [
        {"billing": 0.5, "bug": 0.3, "other": 0.2},
        {"billing": 0.2, "bug": 0.3, "other": 0.5},
        {"billing": 0.31, "bug": 0.29, "other": 0.4},  # the best token is not that of the best
        {"yes": 0.7, "yes, but": 0.3},
        {"yes": 0.1, "yes, but": 0.6, "other": 0.3},
        {"other": 1.0, "bug": 0.0},
    ],
)
async def test_scores(p: dict[str, float], raw: bool) -> None:
    """Also of choices that leave the answer together, and of one that begins another."""
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.scores = Scores({name: TOKENS[name] for name in p}, p)
        constraint = Constraint(choices=tuple(p), scored=True)
        prompt = [("", "Q:")] if raw else [USER, OPEN]
        finished = await talk.ask(*prompt, constraint=constraint)
    assert finished.text == max(p, key=lambda name: p[name])
    assert dict(finished.scores) == pytest.approx(p, abs=1e-6)


async def test_azure_is_asked_by_its_deployment() -> None:
    from parrotc.runtime.engines.openai.engine import open_openai

    async with standin("azure") as server:
        engine = open_openai(
            "gpt35turbo4k", kind="azure", endpoint=server.url.removesuffix("/v1"),
            api_version="2023-07-01-preview", api_key="k",
        )  # fmt: skip
        from talking import Talk

        await Talk(engine, engine.speakers[0]).ask(USER, OPEN)  # type: ignore[arg-type]
        (seen,) = server.seen
        assert seen.path == "/openai/deployments/gpt35turbo4k/chat/completions"
        assert seen.headers["api-key"] == "k"
        assert "stream_options" not in seen.body and "max_tokens" in seen.body
        await engine.close()


async def test_hints_go_where_they_are_taken() -> None:
    hinted = json.dumps({"name": "x", "hints": ["priority", "cache_salt", "user"]})
    async with standin("vllm") as server:
        options = {"profile": hinted, "user": "me", "prefix_header": "X-Prefix"}
        async with talking(server, **options) as talk:
            context = await talk.context(USER, OPEN, salt="tenant")
            await talk.say(context, latency=True, rank=2.0)
            await talk.say(context, rank=9.0)
            await talk.say(context, rank=1.0)
        first, second, third = (seen.body for seen in server.seen)
        assert first["cache_salt"] == "tenant" and first["user"] == "me"
        assert first["priority"] < second["priority"] < third["priority"]
        assert server.seen[0].headers["x-prefix"] == server.seen[1].headers["x-prefix"]
        async with talking(server, profile="llamacpp", user="me") as talk:
            server.dialect = "llamacpp"
            await talk.ask(USER, OPEN)
        assert not {"priority", "cache_salt", "user"} & set(server.seen[-1].body)

"""What goes wrong on the way, and what becomes of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoints import Fault, standin
from served import until
from talking import OPEN, USER, Talk, talking

from parrotc.runtime.engines.openai.engine import TextEngine
from parrotc.runtime.engines.openai.tokenspeaker import Fallback, TokenSpeaker
from parrotc.runtime.engines.protocol import Constraint, EngineError, Piece
from parrotc.runtime.engines.reference import ReferenceEngine

KEY = "sk-very-secret-0123456789"


async def error_of(talk: Talk, **more: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await talk.ask(USER, OPEN, **more)
    return caught.value


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_it_is_asked_again_later_and_later(status: int) -> None:
    async with standin() as server, talking(server, profile="vllm", retries=4) as talk:
        expected = await talk.ask(USER, OPEN)
        server.faults = [Fault(status=status) for _ in range(4)]
        assert (await talk.ask(USER, OPEN)).text == expected.text
        assert len(server.seen) == 6
        assert len(talk.waits) == 4 and all(0 < wait <= 30 for wait in talk.waits)
        assert talk.waits[3] > talk.waits[0]


async def test_it_is_asked_so_often_and_no_more() -> None:
    async with standin() as server, talking(server, profile="vllm", retries=2) as talk:
        server.faults = [Fault(status=500, body={"message": "boom"}) for _ in range(9)]
        error = await error_of(talk)
        assert error.code == "internal" and "boom" in str(error) and "3 times" in str(error)
        assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_would_fail_again_is_not_asked_again(status: int) -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.faults = [Fault(status=status, body={"message": "you cannot"})]
        error = await error_of(talk)
        assert str(status) in str(error) and "you cannot" in str(error)
        assert len(server.seen) == 1 and talk.waits == []
        assert (error.code == "refused") == (status in (401, 403))


@pytest.mark.parametrize(
    "body",
    [{"code": "context_length_exceeded"}, {"message": "This model's maximum context length is 9"}],
)
async def test_a_prompt_that_is_too_long_is_told_as_such(body: dict[str, str]) -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.faults = [Fault(status=400, body=body)]
        assert (await error_of(talk)).code == "context_length"


@pytest.mark.parametrize(
    ("header", "value", "least", "most"),
    [("retry-after", "7", 7, 8), ("retry-after-ms", "2500", 2.5, 3), ("retry-after", "0", 0, 0.1),
     ("retry-after", "soon", 0, 1)],
)  # fmt: skip
async def test_it_waits_as_long_as_the_server_wants(
    header: str, value: str, least: float, most: float
) -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.faults = [Fault(status=429, headers={header: value})]
        await talk.ask(USER, OPEN)
        (wait,) = talk.waits
        assert least <= wait <= most


async def test_a_date_to_wait_for() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        then = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
        server.faults = [Fault(status=503, headers={"retry-after": then})]
        await talk.ask(USER, OPEN)
        assert 40 < talk.waits[0] < 56


async def test_nobody_waits_for_an_hour() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.faults = [Fault(status=429, headers={"retry-after": "3600"})]
        error = await error_of(talk)
        assert error.code == "capacity" and "3,600 s" in str(error) and talk.waits == []


async def test_no_quota_is_no_reason_to_ask_again() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.faults = [Fault(status=429, body={"code": "insufficient_quota"})]
        assert (await error_of(talk)).code == "budget"
        assert len(server.seen) == 1


GARBAGE = (
    "", "{not json", "[1]", '{"choices": 5}', '{"a": 1}',
    '{"error": {"message": "out of memory"}}', '{"choices": [{"delta": {"content": 7}}]}',
)  # fmt: skip


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_an_answer_that_breaks_off_is_told_once(garbage: str, after: int) -> None:
    """What was told is not told again, and the text is what it would have been."""
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two three four"
        server.faults = [Fault(garbage=garbage, after=after)]
        assert (await talk.ask(USER, OPEN)).text == "one two three four"  # pieces are checked
        assert len(server.seen) == 2


async def test_an_answer_that_becomes_another_one_fails() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two three four"
        server.faults = [Fault(after=3)]
        context = await talk.context(USER, OPEN)

        async def change() -> None:
            await until(lambda: server.pieces == 1)
            server.says = "one, two"

        server.gate.clear()
        changing = asyncio.create_task(change())
        asking = asyncio.create_task(talk.say(context))
        await changing
        server.gate.set()
        with pytest.raises(EngineError, match="said something else"):
            await asking


async def test_an_answer_that_was_told_whole_and_comes_back_shorter_fails() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two"
        server.faults = [Fault(garbage="x", after=2)]
        server.gate.clear()
        asking = asyncio.create_task(talk.ask(USER, OPEN))
        await until(lambda: server.pieces == 1)
        server.says = "one"
        server.gate.set()
        with pytest.raises(EngineError, match="said something else"):
            await asking


async def test_silence_is_an_end_too() -> None:
    options = {"profile": "vllm", "timeout": 0.2, "retries": 1}
    async with standin() as server, talking(server, **options) as talk:
        server.says = "one two three"
        server.faults = [Fault(hang=True, after=1)]
        assert (await talk.ask(USER, OPEN)).text == "one two three"
        server.faults = [Fault(hang=True), Fault(hang=True)]
        assert "said nothing for too long" in str(await error_of(talk))


async def test_a_server_that_is_not_there_is_named() -> None:
    async with standin() as server:
        pass
    async with talking(server, profile="vllm", retries=1, model="big") as talk:
        error = await error_of(talk)
        assert "big" in str(error) and "cannot be reached" in str(error)


async def test_leaving_closes_the_stream_and_the_context() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "word " * 100
        server.gate.clear()
        context = await talk.context(USER, OPEN)
        asking = asyncio.create_task(talk.say(context))
        await until(lambda: server.open == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: server.open == 0)
        assert server.closed == 1
        await talk.engine.free([context])
        assert (await talk.engine.ping()).contexts == 0


async def test_a_local_stop_closes_the_stream() -> None:
    async with standin("tgi") as server, talking(server, profile="tgi") as talk:
        server.says = "ab" + "c" * 9000
        finished = await talk.ask(USER, OPEN, stop=("1", "2", "3", "4", "bc"))
        assert finished.text == "a"
        await until(lambda: server.open == 0)


async def test_a_refusal_is_told_and_not_asked_again() -> None:
    refusal = '{"choices": [{"finish_reason": null, "delta": {"refusal": "No, I will not."}}]}'
    filtered = '{"choices": [{"finish_reason": "content_filter", "delta": {}}]}'
    async with standin() as server, talking(server, profile="vllm") as talk:
        for garbage, words in ((refusal, "No, I will not"), (filtered, "content filter")):
            server.faults = [Fault(garbage=garbage)]
            error = await error_of(talk)
            assert error.code == "refused" and words in str(error)
        assert len(server.seen) == 2


async def test_a_key_is_in_no_error() -> None:
    told = f"Incorrect API key provided: {KEY}."
    async with standin() as server, talking(server, profile="vllm", api_key=KEY) as talk:
        assert KEY not in repr(talk.endpoint.options)
        for fault in (
            Fault(status=401, body={"message": told}),
            Fault(status=400, body={"message": told}),
            Fault(garbage='{"error": {"message": "' + told + '"}}'),
        ):
            server.faults = [fault] * 9
            error = await error_of(talk)
            assert KEY not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
            server.faults = []
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_key_goes_to_its_owner_only() -> None:
    environ = {"OPENAI_API_KEY": KEY}
    async with standin() as server, talking(server, profile="vllm", environ=environ) as talk:
        await talk.ask(USER, OPEN)
        assert all(KEY not in held for held in server.seen[0].headers.values())


async def test_another_model_is_asked_when_the_first_fails() -> None:
    async with (
        standin() as first,
        standin() as second,
        talking(first, profile="vllm", retries=0) as one,
        talking(second, profile="vllm") as two,
    ):
        engine = TextEngine([one.endpoint, two.endpoint])
        talk = Talk(engine, one.endpoint)
        expected = (await talk.ask(USER, OPEN)).text
        first.faults = [Fault(status=500)]
        assert (await talk.ask(USER, OPEN)).text == expected
        assert (len(first.seen), len(second.seen)) == (2, 1)
        first.faults = [Fault(after=2)]  # something was told: nobody else can go on with it
        first.says = "one two three"
        with pytest.raises(EngineError, match="broke off"):
            await talk.ask(USER, OPEN)
        assert len(second.seen) == 1


async def test_a_model_that_reads_tokens_can_be_the_other_one() -> None:
    """It says what the stand-in would have said, through the same template."""
    from parrotc.runtime.chat import renderer
    from parrotc.runtime.template import CHATML, Template
    from parrotc.runtime.tokenizer import ByteTokenizer

    reference = ReferenceEngine()
    render = renderer(Template(CHATML).render, ByteTokenizer.specials)
    async with standin() as server, talking(server, profile="vllm", retries=0) as talk:
        other = TokenSpeaker(Fallback("small", reference, render))
        talk.engine = TextEngine([talk.endpoint, other])
        for messages in ([USER, OPEN], [USER, ("assistant", "Well,")], [("", "Once upon")]):
            for constraint in (None, Constraint(choices=("a", "b")), Constraint(regex="[0-9]{3}")):
                asked = await talk.ask(*messages, constraint=constraint)
                server.faults = [Fault(status=500)]
                other_ = await talk.ask(*messages, constraint=constraint)
                assert (asked.text, asked.reason) == (other_.text, other_.reason)
                assert asked.usage is not None and other_.usage is not None
                assert asked.usage.prompt == other_.usage.prompt
        assert (await reference.ping()).contexts == 0


async def test_pieces_come_while_the_answer_is_written() -> None:
    async with standin() as server, talking(server, profile="vllm") as talk:
        server.says = "one two three"
        server.gate.clear()
        context = await talk.context(USER, OPEN)
        from parrotc.runtime.engines.protocol import GenerateRequest, Sampling

        items = talk.engine.generate(GenerateRequest(10**6, context, Sampling()))
        first = await anext(items)
        assert isinstance(first, Piece) and first.text == "one"
        assert server.open == 1
        server.gate.set()
        rest = [item async for item in items]
        assert rest[-1].text == "one two three"

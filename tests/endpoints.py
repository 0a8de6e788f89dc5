"""Stand-ins for servers that speak OpenAI's protocol, each in its own dialect, and with faults.

    async with standin("vllm") as server:
        server.faults.append(Fault(status=429, headers={"retry-after": "1"}))
        engine = open_openai("m", base_url=server.url)

What they say is what the reference engine says: a template makes tokens of the messages, and the
hash of the tokens is the answer. They know a constraint only in the words of their dialect, refuse
fields that the real one does not have, and write down every request.
"""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from parrotc.runtime.chat import renderer
from parrotc.runtime.engines.openai.routing import Prefix
from parrotc.runtime.engines.openai.tokenspeaker import Fallback, TokenSpeaker
from parrotc.runtime.engines.protocol import Constraint, Finished, GenerateRequest, Sampling
from parrotc.runtime.engines.reference import ReferenceEngine
from parrotc.runtime.template import CHATML, Template
from parrotc.runtime.texts import Said
from parrotc.runtime.tokenizer import ByteTokenizer

Json = Any

OWNERS = {"vllm": "vllm", "vllm-guided": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}
_PLAIN = {
    "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "temperature", "top_p",
    "seed", "stop", "n", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty",
    "user", "response_format",
}  # fmt: skip
_MORE = {
    "openai": {"max_completion_tokens", "prompt_cache_key"},
    "azure": set(),
    "vllm": {"top_k", "min_p", "repetition_penalty", "structured_outputs", "cache_salt",
             "priority", "continue_final_message", "add_generation_prompt"},
    "vllm-guided": {"top_k", "min_p", "repetition_penalty", "guided_choice", "guided_regex",
                    "guided_json", "cache_salt", "continue_final_message",
                    "add_generation_prompt"},
    "sglang": {"top_k", "min_p", "repetition_penalty", "regex", "ebnf", "continue_final_message",
               "add_generation_prompt"},
    "llamacpp": {"top_k", "min_p", "repeat_penalty", "grammar"},
    "tgi": set(),
    "mlc": set(),
    "plain": set(),
}  # fmt: skip
_TYPED = ("top_k", "min_p", "seed", "priority", "cache_salt", "user", "prompt_cache_key")


@dataclass
class Fault:
    """What happens to one request instead of, or in the middle of, an answer.

    `after` so many pieces: `status` None breaks the connection, `hang` says nothing any more,
    `garbage` is sent as an event.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    after: int = 0
    hang: bool = False
    garbage: str = ""


@dataclass
class Seen:
    """A request: where it went, what it said, and with which headers."""

    path: str
    body: Json
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Scores:
    """How a model that scores choices cuts them into tokens, and how probable each choice is."""

    tokens: Mapping[str, Sequence[str]]
    p: Mapping[str, float]

    def greedy(self, choices: Sequence[str]) -> str:
        """One of the choices, by the best token at each place."""
        said: tuple[str, ...] = ()
        while True:
            alive = {c: cut for c in choices if (cut := tuple(self.tokens[c]))[: len(said)] == said}
            best: dict[str, float] = {}
            for choice, cut in alive.items():
                name = cut[len(said)] if len(cut) > len(said) else ""
                best[name] = best.get(name, 0.0) + self.p[choice]
            token = max(best, key=best.__getitem__)
            if not token:
                return "".join(said)
            said = (*said, token)


class Standin:
    """One server. `open` are the answers that are being written, `most` the most at one time."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.url = ""
        self.models = ["m"]
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.logprobs = 5  # of how many tokens it tells the probability
        self.says: str | None = None  # instead of what the reference engine says
        self.scores: Scores | None = None
        self.loop = asyncio.get_running_loop()  # on which its events are set
        self.gate = asyncio.Event()  # answers go on, after their first piece, when it is set
        self.gate.set()
        self.hold = asyncio.Event()  # answers begin when it is set
        self.hold.set()
        self.open = self.most = self.closed = self.pieces = 0
        template = renderer(Template(CHATML).render, ByteTokenizer.specials)
        self._model = TokenSpeaker(Fallback("m", ReferenceEngine(), template))
        self.is_strict = True  # refuses fields that it does not know
        self._read: set[str] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_get("/info", self._info)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/openai/deployments/{name}/chat/completions", self._chat)
        app.router.add_post("/openai/deployments/{name}/completions", self._completions)
        return app

    # --- routes ---

    async def _models(self, _: web.Request) -> web.Response:
        owner = OWNERS.get(self.dialect, "mlc-llm" if self.dialect == "mlc" else "someone")
        listed = [{"id": name, "object": "model", "owned_by": owner} for name in self.models]
        return web.json_response({"object": "list", "data": listed})

    async def _version(self, _: web.Request) -> web.Response:
        if not self.dialect.startswith("vllm"):
            raise web.HTTPNotFound
        return web.json_response({"version": "0.9.1" if "guided" in self.dialect else "0.14.0"})

    async def _info(self, _: web.Request) -> web.Response:
        if self.dialect != "tgi":
            raise web.HTTPNotFound
        return web.json_response({"router": "text-generation-router", "max_total_tokens": 4096})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        said = [Said(one["role"], one["content"]) for one in body["messages"]]
        if not self._goes_on(said[-1], body):
            said.append(Said("assistant", ""))
        return await self._answer(request, body, said)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        prompt = body["prompt"]
        text = prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
        return await self._answer(request, body, [Said("", text)])

    async def _note(self, request: web.Request) -> Json:
        body = await request.json()
        self.seen.append(
            Seen(request.path, body, {name.lower(): held for name, held in request.headers.items()})
        )
        return body

    def _goes_on(self, last: Said, body: Json) -> bool:
        if last.role != "assistant":
            return False
        takes_flags = "continue_final_message" in _MORE[self.dialect]
        is_asked = takes_flags and bool(body.get("continue_final_message"))
        return self.dialect == "llamacpp" or is_asked

    # --- answers ---

    async def _answer(
        self, request: web.Request, body: Json, said: Sequence[Said]
    ) -> web.StreamResponse:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and fault.status is not None:
            error = {"error": {"message": "no", **(fault.body or {})}}
            return web.json_response(error, status=fault.status, headers=dict(fault.headers))
        problem = self._problem(body)
        if problem:
            return web.json_response({"error": {"message": problem}}, status=400)
        if not body.get("stream"):
            return await self._whole(body, said)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            return await self._stream(request, body, said, fault)
        except (ConnectionResetError, asyncio.CancelledError):
            self.closed += 1
            raise
        finally:
            self.open -= 1

    def _problem(self, body: Json) -> str:
        """What the real server would refuse."""
        unknown = set(body) - _PLAIN - _MORE[self.dialect]
        if self.dialect == "openai":
            unknown |= set(body) & {"max_tokens"}
        wrong = [name for name in _TYPED if isinstance(body.get(name), dict)]
        if wrong:
            return f"wrong type: {', '.join(wrong)}"
        if unknown and self.is_strict:
            return f"unrecognized fields: {', '.join(sorted(unknown))}"
        if self.dialect == "tgi" and (body.get("temperature") == 0 or body.get("top_p") == 1):
            return "temperature must be positive and top_p below 1"
        if self.dialect in ("openai", "azure", "tgi") and len(body.get("stop", ())) > 4:
            return "too many stop texts"
        return ""

    async def _whole(self, body: Json, said: Sequence[Said]) -> web.Response:
        """The answer in one piece."""
        text, finished = await self._said(body, said)
        event = self._event(body, text, end="stop")
        choice = event["choices"][0]
        if "delta" in choice:
            choice["message"] = {"role": "assistant", **choice.pop("delta")}
        if body.get("logprobs") and self.logprobs:
            top = [{"token": str(n), "logprob": -1.0 - n} for n in range(body["top_logprobs"])]
            place = {"token": "0", "logprob": -1.0, "top_logprobs": top[: self.logprobs]}
            choice["logprobs"] = {"content": [place]}
        usage = self._usage(said, finished)
        return web.json_response({"choices": [choice] * body.get("n", 1), "usage": usage})

    async def _stream(
        self, request: web.Request, body: Json, said: Sequence[Said], fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        text, finished = await self._said(body, said)
        await self.hold.wait()
        for number, events in enumerate(self._events(body, text)):
            if fault is not None and number == fault.after:
                if fault.hang:
                    await asyncio.sleep(3600)
                if fault.garbage:
                    await response.write(f"data: {fault.garbage}\n\n".encode())
                    continue
                assert request.transport is not None
                request.transport.close()
                return response
            await self._send(response, events)
            self.pieces += 1
            await self.gate.wait()
        end = "length" if finished.reason == "length" and self.says is None else "stop"
        await self._send(response, self._event(body, "", end=end))
        if body.get("stream_options", {}).get("include_usage"):
            await self._send(response, {"choices": [], "usage": self._usage(said, finished)})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, event: Json) -> None:
        await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await asyncio.sleep(0)

    def _events(self, body: Json, text: str) -> list[Json]:
        if self.scores is not None and "logprobs" in body:
            return [self._scored(body, text)]
        return [self._event(body, text[at : at + 3]) for at in range(0, len(text), 3)]

    def _event(self, body: Json, text: str, *, end: str | None = None, **more: Json) -> Json:
        part = {"delta": {"content": text}} if "messages" in body else {"text": text}
        return {"choices": [{"index": 0, "finish_reason": end, **part, **more}]}

    def _usage(self, said: Sequence[Said], finished: Finished) -> Json:
        """The first message counts as cached when it was read before."""
        assert finished.usage is not None
        first = len(said[0].text) if said[0].text in self._read else 0
        self._read.add(said[0].text)
        return {
            "prompt_tokens": finished.usage.prompt,
            "completion_tokens": finished.usage.generated,
            "total_tokens": finished.usage.prompt + finished.usage.generated,
            "prompt_tokens_details": {"cached_tokens": first},
        }

    # --- what the model says ---

    async def _said(self, body: Json, said: Sequence[Said]) -> tuple[str, Finished]:
        try:
            constraint, wrap = self._constraint(body)
        except (AssertionError, LookupError) as error:
            raise web.HTTPBadRequest(text=f"no such constraint: {error}") from None
        temperature = body.get("temperature", 0.0 if self.dialect == "tgi" else 1.0)
        sampling = Sampling(
            max_tokens=body.get("max_tokens", body.get("max_completion_tokens", 16)),
            temperature=temperature,
            stop=tuple(body.get("stop", ())),
            key=body.get("seed", 0),
        )
        asked = GenerateRequest(0, 0, sampling, constraint)
        async for item in self._model.answer(said, asked, Prefix(b"", 0, False), ""):
            if isinstance(item, Finished):
                finished = item
        text = self.says if self.says is not None else finished.text
        if self.scores is not None and constraint is not None and constraint.choices:
            text = self.scores.greedy(constraint.choices)
        return (json.dumps({"value": text}) if wrap else text), finished

    def _constraint(self, body: Json) -> tuple[Constraint | None, bool]:
        """The constraint in the words of the dialect; whether the answer wraps its text."""
        if self.dialect == "vllm" and (found := body.get("structured_outputs")):
            return self._named(found), False
        for name in ("choice", "regex", "json"):
            found = body.get(f"guided_{name}")
            if self.dialect == "vllm-guided" and found is not None:
                return self._named({name: found}), False
        if self.dialect == "sglang" and (pattern := body.get("regex")) is not None:
            return _of_regex(pattern), False
        if self.dialect == "llamacpp" and (grammar := body.get("grammar")) is not None:
            return _of_grammar(grammar), False
        return self._formatted(body.get("response_format"))

    def _named(self, found: Json) -> Constraint:
        ((name, value),) = found.items()
        match name:
            case "choice":
                return Constraint(choices=tuple(value))
            case "regex":
                return Constraint(regex=value)
        return Constraint(json_schema=json.dumps(value))

    def _formatted(self, format_: Json) -> tuple[Constraint | None, bool]:
        if format_ is None:
            return None, False
        match self.dialect, format_["type"]:
            case "tgi", "regex":
                return _of_regex(format_["value"]), False
            case "tgi", "json":
                return Constraint(json_schema=json.dumps(format_["value"])), False
            case "mlc", "json_object":
                return Constraint(json_schema=format_["schema"]), False
        assert self.dialect not in ("tgi", "mlc"), "no such format"
        schema = format_["json_schema"]["schema"]
        if self.dialect == "openai":
            assert schema["type"] == "object", "OpenAI wants an object"
            assert schema["additionalProperties"] is False
            value = schema["properties"].get("value", {})
            if set(value) == {"enum"}:
                return Constraint(choices=tuple(value["enum"])), True
        return Constraint(json_schema=json.dumps(schema)), False

    # --- scores ---

    def _scored(self, body: Json, text: str) -> Json:
        """One event with the tokens of `text`, and the best tokens at each place."""
        assert self.scores is not None
        constraint, _ = self._constraint(body)
        assert constraint is not None
        choices = constraint.choices or constraint.regex.split("|")  # type: ignore[union-attr]
        cuts = {choice: tuple(self.scores.tokens[choice]) for choice in choices}
        content, tops = [], []
        for at, token in enumerate(cuts[text]):
            before = cuts[text][:at]
            alive = {c: cut for c, cut in self.scores.tokens.items() if tuple(cut[:at]) == before}
            whole = sum(self.scores.p[c] for c in alive)
            best: dict[str, float] = {}
            for choice, cut in alive.items():
                name = cut[at] if at < len(cut) else "<|im_end|>"
                best[name] = best.get(name, 0.0) + self.scores.p[choice] / whole
            logs = {name: _log(p) for name, p in best.items()}
            listed = [{"token": name, "logprob": p} for name, p in logs.items()]
            content.append({"token": token, "logprob": logs[token], "top_logprobs": listed})
            tops.append(logs)
        if "messages" in body:
            return self._event(body, text, logprobs={"content": content})
        told = {
            "tokens": list(cuts[text]),
            "token_logprobs": [one["logprob"] for one in content],
            "top_logprobs": tops,
        }
        return self._event(body, text, logprobs=told)


def _log(p: float) -> float:
    from math import log

    return log(p) if p else -100.0


def _of_regex(pattern: str) -> Constraint:
    """Choices, if the pattern is nothing but some texts."""
    options = [re.sub(r"\\(.)", r"\1", one) for one in re.split(r"(?<!\\)\|", pattern)]
    if all(re.escape(one) == two for one, two in zip(options, pattern.split("|"), strict=False)):
        return Constraint(choices=tuple(options))
    return Constraint(regex=pattern)


def _of_grammar(grammar: str) -> Constraint:
    """Choices, if the grammar is nothing but some texts."""
    options = grammar.removeprefix("root ::= ").split(" | ")
    if all(re.fullmatch(r'"([^"\\]|\\.)*"', option) for option in options):
        return Constraint(choices=tuple(_literal(option[1:-1]) for option in options))
    return Constraint(regex=as_regex(grammar))


def as_regex(grammar: str) -> str:
    """What a grammar of one rule, without names, matches. Raises `AssertionError` for others."""
    rest = grammar.removeprefix("root ::= ")
    assert rest != grammar
    made = ""
    token = re.compile(
        r'"((?:[^"\\]|\\.)*)"|(\[(?:[^\]\\]|\\.)*\])|([()|*+?]|\{\d+(?:,\d*)?\})|( +)'
    )
    while rest:
        found = token.match(rest)
        assert found is not None, rest
        rest = rest[found.end() :]
        if found[1] is not None:
            literal = _literal(found[1])
            escaped = re.escape(literal).replace("\\-", "-")
            made += escaped if len(literal) < 2 else f"(?:{escaped})"
        elif found[3] is not None:
            made += "(?:" if found[3] == "(" else found[3]
        else:
            made += found[2] or ""
    return made


def _literal(written: str) -> str:
    return re.sub(r"\\x(..)|\\u(....)|\\(.)", _unescaped, written)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else found[3]


@asynccontextmanager
async def standin(dialect: str = "vllm") -> AsyncIterator[Standin]:
    """A stand-in on a free port."""
    server = Standin(dialect)
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()


class Served:
    """A stand-in that is served from another thread."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._ready, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.server: Standin

    async def _serve(self) -> None:
        async with standin(self._dialect) as self.server:
            self._ready.set()
            await asyncio.to_thread(self._done.wait)

    def __enter__(self) -> Standin:
        self._thread.start()
        assert self._ready.wait(20)
        return self.server

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(20)

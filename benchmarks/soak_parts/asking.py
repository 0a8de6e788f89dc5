"""What clients do, each with a number that decides all of it: the same number has one answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import aiohttp

Json = Any
SLOW = 0.02  # seconds that a slow reader takes for an event

PLAN = """
pfunc part(text: str, n: int) -> str:
    "You read with care. {{text}}\\nPart {{n}}:{{gen max_tokens=24, temperature=0.8}}"

pfunc whole(parts: list[str]) -> str:
    "You sum up. {{parts | bullets}}\\nIn short:{{gen max_tokens=40}}"

flow main(text: str, n: int) -> str:
    return whole(parts=[part(text=text, n=i) for i in range(n)])
"""


class Refused(Exception):
    """An answer that is none."""


class Asker:
    """Requests to one core."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http

    async def ask(self, method: str, path: str, body: Json = None) -> Json:
        async with self._http.request(method, self._url + path, json=body) as response:
            said = await response.json()
            if response.status >= 300:
                raise Refused(f"{method} {path}: {response.status} {said}")
            return said

    async def events(
        self, method: str, path: str, body: Json, *, pause: float = 0.0
    ) -> AsyncIterator[tuple[str, Json]]:
        """Server-sent events: name and data."""
        headers = {"Accept": "text/event-stream"}
        async with self._http.request(
            method, self._url + path, json=body, headers=headers
        ) as response:
            name = ""
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: ") and line != "data: [DONE]":
                    yield name, json.loads(line[6:])
                    name = ""
                    await asyncio.sleep(pause)


async def calls(asker: Asker, number: int) -> Json:
    """A session with a chain of calls, the first input of which is set last; read as a stream, by
    a slow reader at times, and plainly."""
    random = Random(number)
    opened = await asker.ask("POST", "/v1/session", {})
    who = {name: opened[name] for name in ("session_id", "session_auth")}
    variable = await asker.ask("POST", "/v1/semantic_var", who | {"var_name": "first"})
    first = last = variable["var_id"]
    for step in range(random.randint(1, 4)):
        last = await _call(asker, who, last, f"Parrot {number % 7}, step {step}.", random)
    unwanted = await _call(asker, who, first, "Nobody reads this.", random)
    await asker.ask("DELETE", f"/v1/semantic_var/{unwanted}", who)
    content = f"Question {number}?"
    await asker.ask("POST", f"/v1/semantic_var/{first}", who | {"content": content})
    pause = SLOW if number % 5 == 0 else 0.0
    streamed = ""
    async for name, data in asker.events("GET", f"/v1/semantic_var/{last}", who, pause=pause):
        if name == "error":
            raise Refused(str(data))
        streamed = data["text"] if name == "restart" else streamed + data.get("text", "")
    said = await asker.ask("GET", f"/v1/semantic_var/{last}", who)
    await asker.ask("DELETE", f"/v1/session/{who['session_id']}", who)
    return [streamed, said["content"]]


async def _call(asker: Asker, who: Json, given: str, about: str, random: Random) -> str:
    sampling = {
        "max_gen_length": random.randint(8, 60), "temperature": 0.9, "seed": random.randrange(99)
    }  # fmt: skip
    parameters = [
        {"name": "q", "is_output": False, "var_id": given},
        {"name": "a", "is_output": True, "sampling_config": sampling},
    ]
    body = {"template": about + " {{q}} So: {{a}}", "parameters": parameters}
    taken = await asker.ask("POST", "/v1/semantic_call", who | body)
    made: str = taken["param_info"][1]["var_id"]
    return made


def _invoked(number: int) -> Json:
    text = f"Document {number % 11}. " + "It says much. " * 5
    return {"inputs": {"text": text, "n": 2 + number % 5}, "seed": number}


async def run(asker: Asker, number: int) -> Json:
    """A run of a plan; every third as events, which are checked against its values."""
    if number % 3:
        return (await asker.ask("POST", "/v1/plans/p/main", _invoked(number)))["result"]
    texts: dict[str, str] = {}
    async for name, data in asker.events("POST", "/v1/plans/p/main", _invoked(number)):
        key = f"{data.get('variable')} {data.get('path')}"
        if name in ("text", "restart"):
            texts[key] = data["text"] if name == "restart" else texts.get(key, "") + data["text"]
        elif name == "value" and not data["text"].startswith(texts.get(key, "")):
            raise Refused(f"{key} was streamed as {texts[key]!r} and is {data['text']!r}")
        elif name in ("failed", "cancelled"):
            raise Refused(f"{name}: {data}")
        elif name == "done":
            return data["result"]
    raise Refused("the events of a run have no end")


async def chat(asker: Asker, number: int) -> Json:
    """OpenAI's chat, plain and as a stream."""
    body = {
        "model": "reference", "seed": number, "temperature": 0.8, "n": 1 + number % 2,
        "max_tokens": 10 + number % 50,
        "messages": [{"role": "user", "content": f"Say {number}."}],
    }  # fmt: skip
    path = "/v1/chat/completions"
    if number % 2:
        choices = (await asker.ask("POST", path, body))["choices"]
        return [choice["message"]["content"] for choice in choices]
    texts = [""] * body["n"]
    async for _, data in asker.events("POST", path, body | {"stream": True}):
        if "error" in data:
            raise Refused(str(data))
        for choice in data["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    return texts


async def complete(asker: Asker, number: int) -> Json:
    """OpenAI's completions of several prompts, plain and as a stream, read slowly at times."""
    body = {
        "model": "reference", "seed": number, "temperature": 0.7, "max_tokens": 8 + number % 40,
        "prompt": [f"Once {number % 5}", f"Then {number}"],
    }  # fmt: skip
    path = "/v1/completions"
    if number % 2:
        return [choice["text"] for choice in (await asker.ask("POST", path, body))["choices"]]
    texts = ["", ""]
    pause = SLOW if number % 6 == 0 else 0.0
    async for _, data in asker.events("POST", path, body | {"stream": True}, pause=pause):
        if "error" in data:
            raise Refused(str(data))
        for choice in data["choices"]:
            texts[choice["index"]] += choice["text"] or ""
    return texts


async def leave(asker: Asker, number: int) -> Json:
    """Begin something and go away, or cancel it: nothing is said, and nothing is to remain."""
    random = Random(number)
    if number % 2:
        body = _invoked(number) | {"background": True}
        begun = await asker.ask("POST", "/v1/plans/p/main", body)
        await asyncio.sleep(random.random() * 0.1)
        await asker.ask("POST", f"/v1/runs/{begun['run_id']}/cancel")
    else:
        with suppress(TimeoutError):
            async with asyncio.timeout(random.random() * 0.1):
                await chat(asker, number)
    return None


KINDS = {"calls": calls, "run": run, "chat": chat, "complete": complete, "leave": leave}

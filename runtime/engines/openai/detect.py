"""Which server it is, as far as it tells: what a `model` line need not say."""

from typing import Any
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI

from parrotc.runtime.engines.openai.clients import Broken
from parrotc.runtime.engines.openai.profiles import PRESETS, UNKNOWN, Profile
from parrotc.runtime.engines.protocol import EngineError

Json = Any

_OWNERS = {  # what servers say of who owns their models → preset
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "mlc-llm": "mlc",
    "parrotc": "parrotc",
}
_OLD_VLLM = (0, 12)


async def detect(client: AsyncOpenAI) -> Profile:
    """The preset of a server that tells what it is, else that of an unknown one.

    Raises the package's error where the server cannot be reached.
    """
    try:
        models = await list_models(client)
        owner = str(models[0].get("owned_by", "")).lower() if models else ""
        preset = _OWNERS.get(owner) or ("tgi" if await _is_tgi(client) else "unknown")
        if preset == "vllm" and await _version(client) < _OLD_VLLM:
            preset = "vllm-guided"
        return PRESETS[preset]
    except (openai.APIStatusError, Broken):
        return UNKNOWN


async def only_model(client: AsyncOpenAI) -> str:
    """The name of the server's model. Raises `EngineError` if it has not exactly one."""
    names = [str(model.get("id")) for model in await list_models(client)]
    if len(names) != 1:
        listed = ", ".join(names[:8]) or "none"
        raise EngineError("internal", f"say which model, as in `URL#MODEL`: there is {listed}")
    return names[0]


async def list_models(client: AsyncOpenAI) -> list[dict[str, Json]]:
    """The models that a server says it has. Raises `Broken`."""
    data = await _get(client, "/models")
    held = data.get("data") if isinstance(data, dict) else None
    if not isinstance(held, list) or not all(isinstance(model, dict) for model in held):
        raise Broken("its list of models is not that of an OpenAI-compatible server")
    return held


async def _version(client: AsyncOpenAI) -> tuple[int, ...]:
    try:
        data = await _get(client, _root(client) + "/version")
        return tuple(int(part) for part in str(data["version"]).split(".")[:2])
    except (openai.APIStatusError, Broken, ValueError, LookupError, TypeError):
        return _OLD_VLLM  # what does not say so is not old


async def _is_tgi(client: AsyncOpenAI) -> bool:
    try:
        data = await _get(client, _root(client) + "/info")
    except (openai.APIStatusError, Broken):
        return False
    return isinstance(data, dict) and "max_total_tokens" in data and "router" in data


def _root(client: AsyncOpenAI) -> str:
    parts = urlsplit(str(client.base_url))
    return f"{parts.scheme}://{parts.netloc}"


async def _get(client: AsyncOpenAI, path: str) -> Json:
    try:
        return await client.get(path, cast_to=object)
    except ValueError:  # not JSON
        raise Broken("its answer is not JSON") from None

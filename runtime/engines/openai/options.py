"""The options of an endpoint's `model` line, read once and checked.

    read_options("openai", "qwen2.5-72b", {"base_url": "http://gpu:8000/v1", "profile": "vllm"})

The names are declared here, for the checker too. A key comes from the environment and is found in
nothing that is written: `Options` shows none of it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from parrotc.runtime.engines.openai.profiles import PRESETS, UNKNOWN, Profile, profile_of

Json = Any

SECRETS = ("api_key",)
KEYS = {"openai": "OPENAI_API_KEY", "azure": "AZURE_OPENAI_API_KEY"}  # where a key is looked for
_OLD_AZURE = "2024-09"  # API versions before know less:
_NO_JSON: Mapping[str, Any] = {"usage": False, "json": "", "choices": ""}
_SHARED = (
    "api_key", "context", "timeout", "fallback", "profile", "concurrency", "retries",
    "requests_per_minute", "tokens_per_minute", "budget_requests", "budget_tokens", "budget_cost",
    "price_in", "price_out", "user", "prefix_header",
)  # fmt: skip
NAMES: Mapping[str, tuple[str, ...]] = {
    "openai": ("base_url", *_SHARED),
    "azure": ("endpoint", "deployment", "api_version", *_SHARED),
}
REQUIRED: Mapping[str, tuple[str, ...]] = {"azure": ("endpoint", "api_version")}
_URL = "OPENAI_BASE_URL"  # where the endpoint is, if a program does not say; its key goes with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One endpoint. 0 means no limit; prices are of a million tokens, in any currency."""

    model: str  # empty: the one that the server has
    urls: tuple[str, ...]
    profile: Profile | None  # None: to be found out
    api_key: str = field(default="", repr=False)
    deployment: str = ""  # of Azure
    api_version: str = ""
    timeout: float = 120.0  # seconds without a word
    concurrency: int = 64  # requests at the same time
    retries: int = 4
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    budget_requests: int = 0
    budget_tokens: int = 0
    budget_cost: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0
    user: str = ""
    prefix_header: str = ""  # a header that tells a router which calls share a prefix
    # Where a text outside of messages goes: `chat` (it is the user's message), `completion` (it is
    # continued as it is) or `auto` (to `chat` where the profile has no raw text). If empty, it is
    # refused where the profile has none: a program is told when it is compiled.
    api_endpoint: Literal["", "auto", "chat", "completion"] = ""

    @property
    def is_azure(self) -> bool:
        return bool(self.api_version)


def problem(name: str, value: Json) -> str:
    """What is wrong with the value of an option, for people; empty if nothing is."""
    if name in SECRETS:
        return "is a secret: a program names the variable that holds it"
    if name in ("base_url", "endpoint"):
        urls = value if isinstance(value, list) and value and name == "base_url" else [value]
        return next(filter(None, map(_url_problem, urls)), "")
    is_right, words = _RULES.get(name, (_always, ""))
    return "" if is_right(value) else f"must be {words}"


def read_options(
    kind: str, target: str, given: Mapping[str, Json], environ: Mapping[str, str] = os.environ
) -> Options:
    """The options of a model. Values from the environment are texts. Raises `ValueError`."""
    values = {name: _number(name, value) for name, value in given.items() if value is not None}
    for name, value in values.items():
        if name not in NAMES[kind]:
            raise ValueError(f"`{kind}` has no option `{name}`")
        found = "" if name in SECRETS else problem(name, value)
        if found:
            raise ValueError(f"`{name}` {found}")
    for name in REQUIRED.get(kind, ()):
        if not values.get(name):
            raise ValueError(f"`{kind}` needs `{name}`")
    model, urls = _places(kind, target, values, environ)
    profile = _profile(kind, urls, values)
    known = {n: v for n, v in values.items() if n in Options.__dataclass_fields__}
    options = Options(**{**known, "model": model, "urls": urls, "profile": profile})
    return replace(options, api_key=options.api_key or _key(kind, urls, environ))


def _places(
    kind: str, target: str, values: Mapping[str, Json], environ: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """The model's name and where it is served. `openai("http://gpu:8000")` names no model, and
    `openai("http://gpu:8000#qwen")` does."""
    if kind == "azure":
        return target, (str(values["endpoint"]),)
    if target.startswith(("http://", "https://")):
        url, _, model = target.partition("#")
        return model, (_with_path(url),)
    given = values.get("base_url") or environ.get(_URL) or _preset(values).url
    urls = given if isinstance(given, list) else [given]
    return target, tuple(map(_with_path, urls))


def _preset(values: Mapping[str, Json]) -> Profile:
    named = values.get("profile")
    return PRESETS.get(named, UNKNOWN) if isinstance(named, str) else PRESETS["openai"]


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1"


def _profile(kind: str, urls: tuple[str, ...], values: Mapping[str, Json]) -> Profile | None:
    named = values.get("profile")
    context = int(values.get("context", 0))
    if named is None and kind == "openai" and urls != (PRESETS["openai"].url,):
        return None
    if named is None and kind == "azure":
        return replace(azure_profile(str(values["api_version"])), context_length=context)
    profile = profile_of(named or "openai")
    return replace(profile, context_length=context or profile.context_length)


def azure_profile(api_version: str) -> Profile:
    """Azure as of a version of its API."""
    profile = PRESETS["azure"]
    return replace(profile, **_NO_JSON) if api_version < _OLD_AZURE else profile


def _key(kind: str, urls: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """The key from the usual variable. It goes where the environment says, or to OpenAI: a program
    cannot send it elsewhere without naming it."""
    is_own = kind == "azure" or urls == (PRESETS["openai"].url,)
    if not is_own and _URL not in environ:
        return ""
    key = environ.get(KEYS[kind], "")
    if not key and is_own:
        message = f"there is no key: set {KEYS[kind]}"
        raise ValueError(f'{message}, or name another variable with `api_key=env("NAME")`')
    return key


# --- values ---

Rule = tuple[Callable[[Json], bool], str]


def _number(name: str, value: Json) -> Json:
    """A number that came from the environment as a text."""
    if isinstance(value, str) and _RULES.get(name) in _NUMBERS:
        try:
            return int(value) if value.isdigit() else float(value)
        except ValueError:
            return value
    return value


def _always(_: Json) -> bool:
    return True


def _is_whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_amount(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


_COUNT: Rule = (_is_whole, "a whole number, 0 or more")
_AMOUNT: Rule = (_is_amount, "a number, 0 or more")
_SOME: Rule = (lambda value: _is_whole(value) and value > 0, "a whole number, 1 or more")
_SECONDS: Rule = (lambda value: _is_amount(value) and value > 0, "a time, as in `30s`")
_NUMBERS = (_COUNT, _AMOUNT, _SOME, _SECONDS)
_TEXT: Rule = (lambda value: isinstance(value, str) and bool(value), "a text")
_RULES: Mapping[str, Rule] = {
    "context": _COUNT, "retries": _COUNT, "requests_per_minute": _COUNT,
    "tokens_per_minute": _COUNT, "budget_requests": _COUNT, "budget_tokens": _COUNT,
    "concurrency": _SOME, "budget_cost": _AMOUNT, "price_in": _AMOUNT, "price_out": _AMOUNT,
    "timeout": _SECONDS,
    "deployment": _TEXT, "api_version": _TEXT, "user": _TEXT, "prefix_header": _TEXT,
    "profile": (lambda value: isinstance(value, str), "the name of a preset, or of a file"),
}  # fmt: skip


def _url_problem(value: Json) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return "must be a URL, as in `http://localhost:8000/v1`"
    if urlsplit(value).username is not None:
        return 'holds a secret: leave it out, and use `api_key=env("NAME")`'
    return ""

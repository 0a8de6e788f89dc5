"""What the endpoint of a model can do, as far as a program tells.

Engines of ours can do everything. Servers that speak OpenAI's protocol differ: one with a `profile`
is known, and so are OpenAI's own models and Azure's. Others get the benefit of the doubt: what one
cannot do fails when it runs.
"""

from fnmatch import fnmatchcase

from parrotc.ir.ops import Model
from parrotc.runtime.engines.openai.options import azure_profile
from parrotc.runtime.engines.openai.profiles import OPTIONS, PRESETS, Profile, profile_of

EVERYTHING = Profile(
    name="everything",
    endpoint="this engine",
    prefill="message",
    raw=True,
    choices="grammar",
    regex="grammar",
    logprobs=20,
    stops=1_000,
    options=OPTIONS,
)

_OWN = ("gpt-[345]*", "chatgpt-*", "o[134]", "o[134]-*")  # OpenAI's, unless served elsewhere


def profile(model: Model) -> Profile:
    """What the endpoint of a model can do."""
    options = dict(model.options)
    named, version = options.get("profile"), options.get("api_version")
    if isinstance(named, str):
        try:
            return profile_of(named)
        except ValueError:  # of a hand-written IR; it is told when the model is opened
            return EVERYTHING
    if model.kind == "azure":
        return azure_profile(version) if isinstance(version, str) else PRESETS["azure"]
    is_own = model.kind == "openai" and "base_url" not in options
    if is_own and any(fnmatchcase(model.target, name) for name in _OWN):
        return PRESETS["openai"]
    return EVERYTHING

"""Which engines there are: `open_engine(kind, spec, **settings)` opens one.

Engines are imported when they are opened, so that compiling and the reference engine need no torch.
"""

import os
from typing import Any

from parrotc.runtime.engines.openai.options import NAMES as TEXT_OPTIONS
from parrotc.runtime.engines.protocol import Engine
from parrotc.runtime.models import ModelError

_KINDS = {"builtin": "embedded", "http": "remote"}  # other names
_SETTINGS = {
    "embedded": {
        "threads", "precision", "device", "progress", "folder", "max_batch_size",
        "max_num_batched_tokens", "fill_chunk_size", "max_total_tokens", "block_size", "measured",
        "max_context",
    },
    "transformers": {"threads", "precision", "device", "progress", "folder"},
    "remote": {"timeout"},
    "reference": {"latency", "fault", "tokenizer"},
    "simulated": {"tokenizer", "cost", "limits", "length"},
    **{kind: {*names, "fallback", "api_endpoint"} for kind, names in TEXT_OPTIONS.items()},
}  # fmt: skip


def settings_of(kind: str) -> set[str]:
    """The settings that engines of a kind have. Raises `ValueError` for a kind nobody knows."""
    kind = _KINDS.get(kind, kind)
    if kind not in _SETTINGS:
        raise ValueError(f"there is no engine `{kind}`; there are {', '.join(_SETTINGS)}")
    return _SETTINGS[kind]


def open_engine(kind: str, spec: str, **settings: Any) -> Engine:
    """An engine that runs the model `spec`. Blocks while it loads.

    Kinds are `embedded` (also called `builtin`), `transformers` (any causal model of Hugging
    Face's), `remote` (also `http`: an engine that `parrotc engine` serves, `spec` is its URL),
    `reference`, and the text endpoints `openai` and `azure` (`spec` names the model). Settings of
    `embedded` and `transformers`: `threads`, `precision` (float32, float64, bfloat16, float16, and
    int8 of `embedded`), `device` (`cpu`, `cuda`), `progress` (told what takes long), `folder`
    (where fetched models are kept); of `embedded` also the limits of `embedded.planner.Limits`,
    `max_context` (tokens of one context) and `measured` (it finds out what its steps take). Of
    `remote`: `timeout` in seconds. Of `reference`: `latency`, `fault`, `tokenizer`; of `simulated`
    (costs instead of a model): `tokenizer`, `cost`, `limits`, `length`. Of text endpoints: those of
    a `model` line (`openai.options`), `fallback`, what is asked when the endpoint fails, and
    `api_endpoint` (`openai.options.Options`). One that only another kind has is ignored. Raises
    `ModelError` for a model that cannot be had, `ValueError` for a kind or a setting that nobody
    knows.
    """
    known = settings_of(kind)
    unknown = settings.keys() - set[str]().union(*_SETTINGS.values())
    if unknown:
        raise ValueError(f"no engine has the settings {', '.join(sorted(unknown))}")
    given = {name: value for name, value in settings.items() if name in known}
    match _KINDS.get(kind, kind):
        case "remote":
            try:
                from parrotc.runtime.engines.http.remote import open_remote
            except ImportError as error:
                raise ModelError(
                    f"an engine elsewhere cannot be reached: {error}",
                    help="pip install 'parrotc[serve]'",
                ) from None
            return open_remote(spec, **given)
        case "reference":
            from parrotc.runtime.engines.reference import ReferenceEngine

            return ReferenceEngine(**given)
        case "openai" | "azure":
            try:
                from parrotc.runtime.engines.openai.engine import open_openai
            except ImportError as error:
                raise ModelError(
                    f"an endpoint cannot be reached: {error}", help="pip install 'parrotc[openai]'"
                ) from None
            return open_openai(spec, kind=kind, **given)
        case "simulated":
            from parrotc.runtime.engines.simulated import SimulatedEngine

            return SimulatedEngine(**given)
    # Idle OpenMP threads spin by default. Where cores are shared with anything else, that costs
    # up to four fifths of the speed. It is read once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if _KINDS.get(kind, kind) == "transformers":
        from parrotc.runtime.engines.huggingface import open_huggingface

        return open_huggingface(spec, **given)
    from parrotc.runtime.engines.embedded.engine import open_embedded

    return open_embedded(spec, **given)

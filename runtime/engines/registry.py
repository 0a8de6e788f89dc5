"""Which engines there are: `open_engine(kind, spec, **settings)` opens one.

Engines are imported when they are opened, so that compiling and the reference engine need no torch.
"""

import os
from typing import Any

from parrotc.runtime.engines.protocol import Engine

_SETTINGS = {
    "embedded": {"threads", "precision", "progress", "folder"},
    "reference": {"latency", "fault", "tokenizer"},
}


def open_engine(kind: str, spec: str, **settings: Any) -> Engine:
    """An engine that runs the model `spec`. Blocks while it loads.

    Kinds are `embedded` (also called `builtin`) and `reference`. Settings of `embedded`:
    `threads`, `precision` (float32, float64, bfloat16, int8), `progress` (told what takes long),
    `folder` (where fetched models are kept). Settings of `reference`: `latency`, `fault`,
    `tokenizer`. One that only another kind has is ignored. Raises `ModelError` for a model that
    cannot be had, `ValueError` for a kind or a setting that nobody knows.
    """
    kind = "embedded" if kind == "builtin" else kind
    if kind not in _SETTINGS:
        raise ValueError(f"there is no engine `{kind}`; there are {', '.join(_SETTINGS)}")
    unknown = settings.keys() - set[str]().union(*_SETTINGS.values())
    if unknown:
        raise ValueError(f"no engine has the settings {', '.join(sorted(unknown))}")
    given = {name: value for name, value in settings.items() if name in _SETTINGS[kind]}
    if kind == "embedded":
        # Idle OpenMP threads spin by default. Where cores are shared with anything else, that costs
        # up to four fifths of the speed. It is read once, when torch is first imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from parrotc.runtime.engines.embedded.engine import open_embedded

        return open_embedded(spec, **given)
    from parrotc.runtime.engines.reference import ReferenceEngine

    return ReferenceEngine(**given)

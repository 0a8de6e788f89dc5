"""Which model a program's model runs as: `--engine`, `--model` and what is in settings."""

from pathlib import Path

import pytest

from parrotc.cli import loading
from parrotc.cli.arguments import Choices
from parrotc.settings import Settings
from parrotc.targets import ModelOverrides

OLD, NEW = "http://127.0.0.1:1", "http://127.0.0.1:2"


@pytest.mark.parametrize(
    ("engine", "kind", "target", "chosen"),
    [
        (None, "builtin", "small", ("builtin", "small")),
        ("embedded", "builtin", "small", ("builtin", "small")),
        ("builtin", "builtin", "small", ("builtin", "small")),
        ("transformers", "transformers", "small", ("transformers", "small")),
        ("reference", "builtin", "small", ("reference", "")),
        (NEW, "builtin", "small", ("remote", NEW)),
        (NEW, "remote", OLD, ("remote", NEW)),
        ("builtin:big", "builtin", "small", ("builtin", "big")),
        ("./folder", "builtin", "small", ("builtin", "./folder")),
    ],
)
def test_an_engine(engine: str | None, kind: str, target: str, chosen: tuple[str, str]) -> None:
    """What says what to run replaces every model, what says how only those of other kinds."""
    assert ModelOverrides(engine).choice("local", kind, target) == chosen


def test_a_name_comes_before_the_engine() -> None:
    models = ModelOverrides("reference", {"local": "builtin:big"})
    assert models.choice("local", "openai", "x") == ("builtin", "big")
    assert models.choice("other", "openai", "x") == ("reference", "")


def test_commands_keep_models_where_settings_say() -> None:
    settings = Settings(engine="reference", model_cache=str(Path("models")))
    choices = Choices(None, None, {"a": "builtin:b"})
    made = loading._models(choices, settings)
    assert made == ModelOverrides("reference", {"a": "builtin:b"}, "models")

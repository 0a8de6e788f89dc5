"""Settings come from a file, the environment and flags, and a misspelt one is an error."""

from pathlib import Path

import pytest

from parrotc.settings import Settings, SettingsError, load


def test_the_later_place_wins(tmp_path: Path) -> None:
    (tmp_path / "parrotc.toml").write_text('width = 1\nseed = 1\nengine = "reference"\n')
    given = load({"PARROTC_WIDTH": "2", "PARROTC_SEED": "2", "HOME": "/"}, tmp_path, seed=3)
    assert (given.width, given.seed, given.engine) == (2, 3, "reference")
    assert load({}, tmp_path / "nowhere", width=None) == Settings()


@pytest.mark.parametrize(
    ("environ", "flags", "words"),
    [
        ({"PARROTC_WIDHT": "2"}, {}, "no setting `widht`"),
        ({"PARROTC_WIDHT": "2"}, {}, "did you mean `width`?"),
        ({}, {"colour": "x"}, "did you mean `color`?"),
        ({"PARROTC_WIDTH": "many"}, {}, "`width` must be a whole number, not 'many'"),
        ({"PARROTC_WIDTH": "-1"}, {}, "the environment variable PARROTC_WIDTH"),
    ],
)
def test_mistakes(environ: dict[str, str], flags: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, Path("/nonexistent"), **flags)
    assert words in str(caught.value)


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    (tmp_path / "parrotc.toml").write_text("width = = 1")
    with pytest.raises(SettingsError, match="is not TOML"):
        load({}, tmp_path)

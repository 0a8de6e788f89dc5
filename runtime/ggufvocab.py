"""The `tokenizer.json` that a GGUF file's metadata describes.

GGUF names the pre-tokenizer instead of holding it, so the names that are known stand here.
"""

import json
from collections.abc import Mapping
from typing import Any

_CONTROL, _USER_DEFINED = 3, 4  # kinds of tokens that are not made of merges

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_GPT2 = _BYTES | {"use_regex": True}
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(regex: str) -> list[dict[str, Any]]:
    """Pre-tokens are the matches of a regex."""
    pattern = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}
    return [pattern | {"invert": False}, _BYTES | {"use_regex": False}]


_PRE_TOKENIZERS: Mapping[str, list[dict[str, Any]]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}, _GPT2],
    "gpt-2": [_GPT2],
    "llama-bpe": _split(_LLAMA3),
    "qwen2": _split(_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")),
}


def tokenizer_json(metadata: Mapping[str, Any]) -> str:
    """The text of the file. Raises `ValueError` for a kind of tokenizer that is not known here."""
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "")
    if model != "gpt2" or pre not in _PRE_TOKENIZERS:
        raise ValueError(
            f"its tokenizer is {model}/{pre}; known are those of byte-level BPE with the"
            f" pre-tokenizers {', '.join(_PRE_TOKENIZERS)}: use the model's Hugging Face folder"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata["tokenizer.ggml.token_type"]
    bpe = {
        "type": "BPE",
        "vocab": {token: n for n, token in enumerate(tokens)},
        "merges": [merge.split(" ", 1) for merge in metadata["tokenizer.ggml.merges"]],
        "ignore_merges": pre == "llama-bpe",
    }
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [
                _added(n, tokens[n])
                for n, kind in enumerate(kinds)
                if kind in (_CONTROL, _USER_DEFINED)
            ],
            "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": _PRE_TOKENIZERS[pre]},
            "post_processor": _begins_with(_bos(metadata, tokens)),
            "decoder": _GPT2,
            "model": bpe,
        },
        ensure_ascii=False,
    )


def _bos(metadata: Mapping[str, Any], tokens: list[str]) -> tuple[int, str] | None:
    number = metadata.get("tokenizer.ggml.bos_token_id")
    if number is None or not metadata.get("tokenizer.ggml.add_bos_token"):
        return None
    return number, tokens[number]


def _begins_with(bos: tuple[int, str] | None) -> dict[str, Any] | None:
    """The rule that puts a token before a raw text."""
    if bos is None:
        return None
    number, text = bos
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]}},
    }


def _added(number: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": True, **flags}

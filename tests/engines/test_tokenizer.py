"""Ids and text: round trips, special tokens as text, and ids that no continuation can change."""

from collections.abc import Callable
from pydoc_data.topics import topics
from random import Random

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from parrotc.runtime.models import ModelFiles
from parrotc.runtime.tokenizer import ByteTokenizer, Decoder, Tokenizer

PRE = ("smollm", "gpt-2", "llama-bpe", "qwen2")
ALPHABET = "abcreLLsvtm'’\"  \t\n\r.,;!?(<|_1234567890éßñÜ日本語한각ाि😀\u0301\u200d\u00a0"
TEXTS = st.text(st.sampled_from(ALPHABET), max_size=20)
SmallOf = Callable[[str], Tokenizer]


@pytest.mark.parametrize("pre", PRE)
@given(text=TEXTS, more=TEXTS)
@example(text="x'r", more="e")  # a contraction that only the next letter completes
@example(text="x '", more="ll")
@example(text="a \n", more="\n b")
@example(text="e\u0301", more="\u0323")
@example(text="12", more="34")
@example(text="a\n ", more="\n")
@example(text="e\u0334", more="\u0301")  # composes with the e, past the mark between them
def test_a_stable_prefix_is_stable(small: SmallOf, pre: str, text: str, more: str) -> None:
    tokenizer = small(pre)
    prefix = tokenizer.stable_prefix(text)
    assert tokenizer.encode(text)[: len(prefix)] == prefix
    assert tokenizer.encode(text + more)[: len(prefix)] == prefix


@pytest.mark.parametrize("pre", PRE)
def test_most_of_a_sentence_is_stable(small: SmallOf, pre: str) -> None:
    tokenizer = small(pre)
    for text in ("The quick brown fox jumps over the lazy dog: ", "The quick brown fox"):
        held = len(tokenizer.encode(text)) - len(tokenizer.stable_prefix(text))
        assert held <= 3


@pytest.mark.parametrize("pre", PRE)
@given(text=st.text(max_size=30))
def test_decoding_gives_the_text_back(small: SmallOf, pre: str, text: str) -> None:
    tokenizer = small(pre)
    if pre == "qwen2":  # which composes characters first
        text = tokenizer.decode(tokenizer.encode(text))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@given(text=st.text(max_size=30))
def test_a_decoder_gives_whole_characters(small: SmallOf, text: str) -> None:
    tokenizer = small("smollm")
    decoder = Decoder(tokenizer)
    pieces = [decoder.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert decoder.is_whole


def test_a_decoder_waits_inside_a_character() -> None:
    decoder = Decoder(ByteTokenizer())
    shown = [(decoder.push(byte), decoder.is_whole) for byte in "é!".encode()]
    assert shown == [("", False), ("é", True), ("!", True)]


def test_a_special_token_in_text_is_text(small: SmallOf) -> None:
    tokenizer = small("smollm")
    ids = tokenizer.encode("a<|im_end|>b")
    assert tokenizer.specials["<|im_end|>"] == 2
    assert 2 not in ids
    assert tokenizer.decode(ids) == "a<|im_end|>b"
    assert tokenizer.decode([2]) == "<|im_end|>"


def test_the_fingerprint_tells_tokenizers_apart(small: SmallOf) -> None:
    assert len({small(pre).fingerprint for pre in PRE}) == len(PRE)
    assert ByteTokenizer().fingerprint == ByteTokenizer().fingerprint


def test_what_is_no_tokenizer_is_refused(small: SmallOf) -> None:
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer("{}")
    with pytest.raises(ValueError, match="not a token id"):
        small("smollm").token_bytes(10_000)


def test_other_tokenizers_promise_nothing() -> None:
    source = """{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer":
        {"type": "Whitespace"}, "post_processor": null, "decoder": null, "model":
        {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"}}"""
    assert Tokenizer(source).stable_prefix("a a a") == []


@given(text=st.text(max_size=20), more=st.text(max_size=5))
def test_bytes_are_always_stable(text: str, more: str) -> None:
    tokenizer = ByteTokenizer()
    prefix = tokenizer.stable_prefix(text)
    assert tokenizer.encode(text + more)[: len(prefix)] == prefix
    assert tokenizer.decode(prefix) == text


# --- the real vocabulary ---


@pytest.mark.model
def test_stable_prefixes_of_the_real_vocabulary(smollm: Tokenizer) -> None:
    words = ["The", "warranty", " don't", "\n\n", " ", "  ", "é", "日本", "2026", "7", "'", "'r",
             "we", "ll", "\t", ": ", '"', "(", "…", "😀", "\u0301", "x", ".\n", "_id"]  # fmt: skip
    rng = Random(7)
    for _ in range(5000):
        text = "".join(rng.choices(words, k=rng.randrange(1, 14)))
        cut = rng.randrange(len(text) + 1)
        prefix = smollm.stable_prefix(text[:cut])
        assert smollm.encode(text)[: len(prefix)] == prefix, (text[:cut], text[cut:])


@pytest.mark.model
def test_the_vocabulary_is_the_one_transformers_reads(
    smollm: Tokenizer, embedded_files: ModelFiles
) -> None:
    """On the documentation of Python, and on what is hard to split."""
    transformers = pytest.importorskip("transformers")
    path = embedded_files.path
    other = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # It reads no pre-tokenizer from a GGUF file and takes GPT-2's, which keeps digits together.
    pieces = tokenizers.pre_tokenizers
    other.backend_tokenizer.pre_tokenizer = pieces.Sequence(
        [pieces.Digits(individual_digits=True), pieces.ByteLevel(add_prefix_space=False)]
    )
    hard = (
        "In 2026, 7 of 12345",
        "naïve café\n\n  x'll",
        "日本語 and 한국어",
        "a\t b  c ",
        "😀\u200d",
    )
    for text in (*hard, *list(topics.values())[:20]):
        assert smollm.encode(text) == other.encode(text, add_special_tokens=False)

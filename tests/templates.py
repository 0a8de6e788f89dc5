"""Chat templates of five families, written for these tests in each family's format, and small
tokenizers with the families' pre-tokenizers, trained here in memory.

`family("llama3")` is a `ModelTarget`. What makes each of them a test: ChatML inserts a default
system message; Llama 3 trims every content and writes BOS itself; Mistral has no system role and
puts its text into a user message, the first or the last one; Qwen 3 drops what an assistant thought
in earlier turns; Phi 3 writes a boundary after each message that its tokenizer knows.
"""

import json
from functools import cache

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from parrotc.ir.ops import Model, Module
from parrotc.passes.target import ModelTarget, Target
from parrotc.runtime.template import Template
from parrotc.runtime.tokenizer import ByteTokenizer, Tokenizer

CHATML = """\
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{%- if not messages -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}
"""

# `first` or `last`: the user message that the text of the system message goes into
_MISTRAL = """\
{{- bos_token }}
{%- set system = namespace(text=none) -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set system.text = messages[0]['content'] -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('roles must alternate user and assistant') }}
{%- endif -%}
{%- if message['role'] == 'user' -%}
{%- if system.text is not none and loop.PLACE -%}
{{ '[INST] ' + system.text + '\\n\\n' + message['content'] + '[/INST]' }}
{%- else -%}
{{ '[INST] ' + message['content'] + '[/INST]' }}
{%- endif -%}
{%- else -%}
{{ ' ' + message['content'] + eos_token }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages and messages[-1]['role'] != 'user' -%}
{{ raise_exception('the last message must be the user\\'s') }}
{%- endif -%}
"""

QWEN3 = """\
{%- set state = namespace(last_user=-1) -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{%- set state.last_user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' and loop.index0 > state.last_user -%}
{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + message['content'] + '<|im_end|>\\n' }}
{%- else -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""

PHI3 = """\
{%- for message in messages -%}
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}
"""

TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "mistral": _MISTRAL.replace("PLACE", "first"),
    "mistral-last": _MISTRAL.replace("PLACE", "last"),
    "qwen3": QWEN3,
    "phi3": PHI3,
}

_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    regex = tokenizers.Regex(pattern)
    split = pre_tokenizers.Split(regex, behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, _BYTES])


_PRE_TOKENIZERS = {
    "chatml": _GPT2,
    "llama3": _split(_LLAMA3_SPLIT),
    "mistral": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "mistral-last": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "qwen3": _split(_LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")),
    "phi3": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _GPT2]),
}
SPECIALS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": (
        "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    ),
    "mistral": ("<s>", "</s>", "[INST]", "[/INST]"),
    "mistral-last": ("<s>", "</s>", "[INST]", "[/INST]"),
    "qwen3": ("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    "phi3": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<s>"),
}  # fmt: skip
_BOS = {"llama3": "<|begin_of_text|>", "mistral": "<s>", "mistral-last": "<s>", "phi3": "<s>"}
_EOS = {"llama3": "<|eot_id|>", "mistral": "</s>", "mistral-last": "</s>"}
FAMILIES = tuple(TEMPLATES)

_CORPUS = [
    "You read with care. Answer briefly: the cat sat on the mat, and it was not the only one.",
    "Sum this passage up in at most three sentences.\n\nText: it's what they've said; we'll see.",
    "system user assistant 1234567 89 + 12 = 101.\n\n\tif x:\n        return None\n\nHéllo, 世界!",
    "Answer at length: don't  do   that. Don't! I'd rather (really) not.\r\nNo.",
]


@cache
def tokenizer(family: str) -> Tokenizer:
    """A few hundred tokens over bytes, or over characters with a byte fall-back for Mistral."""
    metaspace = family.startswith("mistral")
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=metaspace))
    backend.pre_tokenizer = _PRE_TOKENIZERS[family]
    backend.decoder = decoders.Metaspace() if metaspace else decoders.ByteLevel()
    alphabet = [f"<0x{n:02X}>" for n in range(256)] if metaspace else []
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*SPECIALS[family], *alphabet],
        initial_alphabet=[] if metaspace else pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS * 5, trainer)
    if bos := _BOS.get(family):
        pair = (bos, backend.token_to_id(bos))
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[pair]
        )
    parts = json.loads(backend.to_str())
    parts["added_tokens"] = [t for t in parts["added_tokens"] if t["content"] not in alphabet]
    return Tokenizer(json.dumps(parts))


@cache
def family(name: str) -> ModelTarget:
    template = Template(TEMPLATES[name], bos=_BOS.get(name, ""), eos=_EOS.get(name, ""))
    return ModelTarget(tokenizer(name), template, 100_000)


def target_of(module: Module) -> Target:
    """What a module of a case file is compiled for: `reference "llama3"` is that family,
    `reference ""` bytes and ChatML, any other kind a chat API."""
    return Target({model.name: _language(model) for model in module.models})


def _language(model: Model) -> ModelTarget:
    if model.kind != "reference":
        return ModelTarget(None, None)
    if model.target in FAMILIES:
        return family(model.target)
    tokenizer = ByteTokenizer()
    return ModelTarget(tokenizer, Template(tokenizer.template).render)

"""Tokens a second of the built-in engine with random weights, beside `transformers` in one run.

    python benchmarks/engine.py                     # Llama 3 8B in bfloat16, on a GPU
    python benchmarks/engine.py --shape tiny        # a toy, on whatever there is

Prefill is a long prompt from its first to its last token. Decode is steps in which every sequence
says one token, with what that takes beside the model (scheduling, logits, the draw), once all have
begun. `unrelated` sequences have nothing in common; `shared` ones have a long beginning, which ours
reads once for all where its gate says so ("no sharing": for each). Each figure is the best of the
rounds; ways take turns, so that what else the machine does hits all alike.
"""

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from parrotc.kernels.gate import measure_gate
from parrotc.kernels.worklist import Gate
from parrotc.runtime.engines.embedded.model import PRECISIONS, Model
from parrotc.runtime.engines.embedded.planner import Limits
from parrotc.runtime.engines.embedded.rotary import Rotary, plain
from parrotc.runtime.engines.embedded.runner import Runner, attention_for
from parrotc.runtime.engines.embedded.scheduler import Scheduler
from parrotc.runtime.engines.embedded.shape import Shape
from parrotc.runtime.engines.embedded.weights import tensor_shapes
from parrotc.runtime.engines.protocol import (
    EngineError,
    FillRequest,
    Finished,
    GenerateRequest,
    Piece,
    Sampling,
)
from parrotc.runtime.tokenizer import ByteTokenizer

RESULTS = Path(__file__).parent / "results"
SPREAD = 0.02  # of random weights, as models begin their training


@dataclass(frozen=True)
class Load:
    """`batch` sequences of `common` and `own` tokens. Decode measures `steps` of them."""

    name: str
    batch: int
    common: int
    own: int
    steps: int

    def prompts(self, vocab: int, seed: int) -> list[tuple[int, ...]]:
        rng = Random(seed)
        common = [rng.randrange(3, vocab) for _ in range(self.common)]
        return [
            (*common, *(rng.randrange(3, vocab) for _ in range(self.own)))
            for _ in range(self.batch)
        ]


@dataclass(frozen=True)
class Case:
    shape: Shape
    prefill: int  # tokens of a prompt
    loads: tuple[Load, ...]
    rounds: int


def case_of(name: str) -> Case:
    if name == "tiny":
        return Case(
            _llama(layers=2, hidden=64, inner=128, heads=4, kv_heads=2, vocab=512, length=512),
            prefill=128,
            loads=(Load("unrelated", 4, 0, 24, 6), Load("shared", 4, 64, 8, 6)),
            rounds=2,
        )
    return Case(
        _llama(
            layers=32, hidden=4096, inner=14336, heads=32, kv_heads=8, vocab=128256, length=8192
        ),
        prefill=4096,
        loads=(
            Load("unrelated", 1, 0, 512, 64),
            Load("unrelated", 16, 0, 512, 64),
            Load("unrelated", 64, 0, 512, 64),
            Load("shared", 64, 4096, 256, 64),
        ),
        rounds=3,
    )


def _llama(
    *, layers: int, hidden: int, inner: int, heads: int, kv_heads: int, vocab: int, length: int
) -> Shape:
    dim = hidden // heads
    return Shape(
        layers=layers, hidden=hidden, inner=inner, heads=heads, kv_heads=kv_heads, head_dim=dim,
        vocab=vocab, epsilon=1e-5, context_length=length, rotary=Rotary(plain(500000.0, dim)),
    )  # fmt: skip


# --- ours ---


class Ours:
    """The engine's scheduler, driven by hand. `way` is as it is printed."""

    def __init__(self, model: Model, case: Case, *, graphs: bool, shared: bool) -> None:
        self.way = "ours" + (", graphs" if graphs else "") + ("" if shared else ", no sharing")
        attention = attention_for(model)
        shape, most = model.shape, max(load.batch for load in case.loads)
        tokens = max(load.common + load.batch * (load.own + load.steps + 32) for load in case.loads)
        limits = Limits(
            max_batch_size=most,
            max_num_batched_tokens=max(2048, most),
            fill_chunk_size=2048,
            max_total_tokens=2 * tokens + 2 * case.prefill,
        )
        self._runner = Runner(model, limits, attention)
        if graphs:
            from parrotc.runtime.engines.embedded.cudagraph import GraphRunner, cuda_capture

            self._runner = GraphRunner(model, limits, attention, cuda_capture)
        measured = partial(
            measure_gate, attention.attend, heads=shape.heads, kv_heads=shape.kv_heads,
            dim=shape.head_dim, dtype=model.dtype, device=model.device,
        )  # fmt: skip
        self._runner.gate = measured() if shared else Gate.never()
        tokenizer: Any = _Tokens(shape.vocab)
        self._scheduler = Scheduler(self._runner, tokenizer, limits, shape.context_length)
        self._names = count(1)
        self._device = model.device

    def prefill(self, prompt: tuple[int, ...]) -> float:
        """Seconds."""
        start = _now(self._device)
        name = self._fill(prompt)
        self._run()
        seconds = _now(self._device) - start
        self._scheduler.free(name, dead=True)
        return seconds

    def decode(self, load: Load, prompts: list[tuple[int, ...]]) -> float:
        """Seconds of `load.steps` steps of all."""
        contexts = [self._fill(prompts[0][: load.common])] if load.common else []
        root = contexts[0] if contexts else None
        talks: list[int] = []
        sampling = Sampling(max_tokens=load.steps + 8, ignore_eos=True)
        for prompt in prompts:
            contexts.append(self._fill(prompt[load.common :], root))
        self._run()
        for context in contexts[bool(load.common) :]:
            talks.append(next(self._names))
            request = GenerateRequest(talks[-1], context, sampling)
            self._scheduler.generate(request, _heard)
        for _ in range(4):  # all have begun, and what is captured has been
            self._scheduler.iterate()
        start = _now(self._device)
        for _ in range(load.steps):
            self._scheduler.iterate()
        seconds = _now(self._device) - start
        self._run()
        for name in (*contexts, *talks):
            self._scheduler.free(name, dead=True)
        return seconds

    def _fill(self, ids: tuple[int, ...], parent: int | None = None) -> int:
        name = next(self._names)
        self._scheduler.fill([FillRequest(name, parent, ids)], lambda error: None)
        return name

    def _run(self) -> None:
        while self._scheduler.has_work:
            self._scheduler.iterate()


class _Tokens(ByteTokenizer):
    """Of as many tokens as the model has; what they say does not matter here."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.vocab_size = vocab

    def token_bytes(self, token: int) -> bytes:
        return b" word"


def _heard(item: Piece | Finished | EngineError) -> None:
    """Nobody reads what random weights say, but they must say something."""
    if isinstance(item, EngineError):
        raise item


# --- the peer ---


class Transformers:
    """A Llama of Hugging Face's with its own cache, all prompts of a batch of one length."""

    way = "transformers"

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.inner,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads, max_position_embeddings=shape.context_length,
            rms_norm_eps=shape.epsilon, attn_implementation="sdpa",
        )  # fmt: skip
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with device:
                self._model: Any = LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)
        self._device = device

    def prefill(self, prompt: tuple[int, ...]) -> float:
        ids = torch.tensor([prompt], device=self._device)
        start = _now(self._device)
        self._model(ids, use_cache=True, logits_to_keep=1)
        return _now(self._device) - start

    def decode(self, load: Load, prompts: list[tuple[int, ...]]) -> float:
        cache: Any = None
        ids = torch.tensor(prompts, device=self._device)
        for part in ids.split(512, dim=1):  # so that long prompts of many need no more memory
            out = self._model(part, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
        token = self._next(out.logits)
        start = 0.0
        for step in range(load.steps + 4):
            start = _now(self._device) if step == 4 else start
            out = self._model(token, past_key_values=cache, use_cache=True)
            token = self._next(out.logits)
        return _now(self._device) - start

    def _next(self, logits: Tensor) -> Tensor:
        return logits[:, -1].argmax(-1, keepdim=True)


# --- the measures ---


@dataclass
class Record:
    device: str
    torch: str
    shape: str
    precision: str
    load_before: tuple[float, float, float]
    prefill: dict[str, float] = field(default_factory=dict)  # tokens a second
    decode: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)


def _now(device: torch.device) -> float:
    """Seconds, once all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def random_model(shape: Shape, precision: str, device: torch.device) -> Model:
    made = torch.Generator(device).manual_seed(0)
    dtype = PRECISIONS[precision]
    weights = {
        name: torch.ones(size, dtype=dtype, device=device)
        if len(size) == 1
        else torch.randn(size, dtype=dtype, device=device, generator=made).mul_(SPREAD)
        for name, size in tensor_shapes(shape).items()
    }
    return Model(shape, weights, precision, device)


def ways_of(
    case: Case, precision: str, device: torch.device, peer: bool
) -> list[tuple[str, Callable[[], list[Any]]]]:
    """Makers of what is measured together: two large models need not be there at once."""

    def ours() -> list[Any]:
        model = random_model(case.shape, precision, device)
        graphs = (False, True) if device.type == "cuda" else (False,)
        return [
            Ours(model, case, graphs=graph, shared=shared)
            for graph in graphs
            for shared in (True, False)
        ]

    makers: list[tuple[str, Callable[[], list[Any]]]] = [("ours", ours)]
    if peer:
        makers.append(
            ("transformers", lambda: [Transformers(case.shape, PRECISIONS[precision], device)])
        )
    return makers


@torch.inference_mode()
def measure(case: Case, record: Record, ways: list[Any]) -> None:
    vocab, fresh = case.shape.vocab, count()
    for way in ways:
        alone = Load("", 1, 0, case.prefill, 0)
        seconds = [
            way.prefill(alone.prompts(vocab, next(fresh))[0]) for _ in range(case.rounds + 1)
        ]
        record.prefill[way.way] = round(case.prefill / min(seconds[1:]), 1)
        print(f"{way.way:28}prefill {case.prefill:>6}{record.prefill[way.way]:>12.1f} tok/s")
    for load in case.loads:
        best = {way.way: float("inf") for way in ways}
        for _ in range(case.rounds):
            for way in ways:
                try:
                    took = way.decode(load, load.prompts(vocab, next(fresh)))
                except torch.OutOfMemoryError as error:
                    record.failed.append({"load": load.name, "way": way.way, "reason": str(error)})
                    continue
                best[way.way] = min(best[way.way], took)
        for name, took in best.items():
            if took == float("inf"):
                continue
            row = {**asdict(load), "way": name, "tokens_per_second": load.batch * load.steps / took}
            record.decode.append(row)
            print(
                f"{name:28}{load.name} {load.batch} x {load.common}+{load.own}"
                f"{row['tokens_per_second']:>12.1f} tok/s",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=("llama3-8b", "tiny"), default="llama3-8b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", help="bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--no-peer", action="store_true", help="without transformers")
    parser.add_argument("--output", type=Path, help="instead of results/engine-SHAPE-DEVICE.json")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here")
    if args.threads:
        torch.set_num_threads(args.threads)
    is_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_gpu else f"cpu {platform.machine()}"
    precision = args.precision or ("bfloat16" if is_gpu else "float32")
    case = case_of(args.shape)
    record = Record(name, torch.__version__, args.shape, precision, os.getloadavg())
    print(f"{name}, torch {torch.__version__}, {args.shape} in {precision}")
    for _, make in ways_of(case, precision, device, not args.no_peer):
        with torch.inference_mode():
            ways = make()
        measure(case, record, ways)
        del ways
        gc.collect()
        if is_gpu:
            torch.cuda.empty_cache()
    slug = "-".join(name.lower().split())
    output = args.output or RESULTS / f"engine-{args.shape}-{slug}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(asdict(record), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

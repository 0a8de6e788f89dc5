"""The forward pass against the plainest one, however the work is cut and mixed."""

from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")

from contexts import Paged  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tinyllama import dense  # noqa: E402

from parrotc.runtime.engines.embedded.contexts import Sequence  # noqa: E402
from parrotc.runtime.engines.embedded.shape import load_shape  # noqa: E402
from parrotc.runtime.engines.embedded.weights import load_weights  # noqa: E402
from parrotc.runtime.models import EMBEDDED, ModelError, ModelFiles, cache_folder, resolve  # noqa: E402

TOLERANCE = {"float32": 1e-4, "float64": 1e-10, "float32, compiled": 1e-4}
VOCAB = 300


class Checked(Paged):
    """Of the tiny model: what it computes is compared with the plainest one."""

    def __init__(self, folder: Path, precision: str) -> None:
        kernels = cache_folder() / "kernels" if "compiled" in precision else None
        super().__init__(resolve(str(folder)), precision.split(",")[0], kernels)
        self.weights = load_file(folder / "model.safetensors")
        self.tolerance = TOLERANCE[precision]

    def step(self, *work: tuple[Sequence, int]) -> None:
        """A step of which the logits of every token are right."""
        found = self.logits(*work)
        wanted = [
            dense(self.weights, sequence.tokens(0, sequence.computed))[-count:]
            for sequence, count in work
        ]
        assert (found - torch.cat(wanted)).abs().max() < self.tolerance


def some(rng: Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(VOCAB) for _ in range(count))


@pytest.fixture(params=["float32", "float64"])
def bench(tiny_folder: Path, request: pytest.FixtureRequest) -> Checked:
    return Checked(tiny_folder, request.param)


@pytest.mark.parametrize("chunks", [[40], [39, 1], [1, 39], [7] * 5 + [5]])
def test_a_prompt_in_chunks(bench: Checked, chunks: list[int]) -> None:
    sequence = Sequence(None, some(Random(1), sum(chunks)))
    for chunk in chunks:
        bench.step((sequence, chunk))


def test_a_chain_in_one_step(bench: Checked) -> None:
    """Children are computed in the same pass as the parents whose keys they read."""
    rng = Random(2)
    chain: list[Sequence] = []
    for length in (5, 1, 12, 3):
        chain.append(Sequence(chain[-1] if chain else None, some(rng, length)))
    twin = Sequence(chain[1], some(rng, 4))
    bench.step(*((sequence, len(sequence.ids)) for sequence in (*chain, twin)))


@pytest.mark.parametrize("seed", range(8))
def test_random_steps(bench: Checked, seed: int) -> None:
    """Trees that fork anywhere, ragged rows, prompts in chunks: all in the same steps."""
    rng = Random(seed)
    trunk = Sequence(None, some(rng, rng.randrange(1, 20)))
    bench.step((trunk, trunk.end))
    ready, filling, talking = [trunk], [], []
    for _ in range(12):
        if rng.random() < 0.6:
            filling.append(Sequence(rng.choice(ready), some(rng, rng.randrange(1, 15))))
        if rng.random() < 0.5 and len(talking) < 5:
            talking.append(Sequence(rng.choice(ready)))
        if talking and rng.random() < 0.2:
            bench.memory.release(talking.pop(rng.randrange(len(talking))))
        work = []
        for sequence in talking:
            sequence.ids += some(rng, 1)
            work.append((sequence, 1))
        for sequence in filling:
            if rng.random() < 0.7:
                missing = sequence.end - max(sequence.computed, sequence.start)
                work.append((sequence, rng.randint(1, missing)))
        if work:
            bench.step(*work)
        ready += [sequence for sequence in filling if not sequence.missing]
        filling = [sequence for sequence in filling if sequence.missing]


def test_transformers_agrees(tiny_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    ids = [Random(5).randrange(VOCAB) for _ in range(60)]
    with torch.inference_mode():
        expected = other(torch.tensor([ids])).logits[0]
    weights = load_file(tiny_folder / "model.safetensors")
    assert (dense(weights, ids) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_coarser_precisions_stay_close(tiny_folder: Path, precision: str) -> None:
    ids = some(Random(6), 30)
    found = Paged(resolve(str(tiny_folder)), precision).logits((Sequence(None, ids), 30)).double()
    expected = dense(load_file(tiny_folder / "model.safetensors"), ids)
    likeness = torch.nn.functional.cosine_similarity(found, expected)
    assert likeness.min() > 0.98


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "gemma"}, "architecture is gemma"),
        ({"hidden_act": "gelu"}, "activation is gelu"),
        ({"rope_scaling": {"rope_type": "other", "factor": 8}}, "rotary positions are scaled"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict, reason: str) -> None:
    import json

    from tinyllama import CONFIG

    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": 9} | change))
    with pytest.raises(ModelError, match=reason):
        load_shape(resolve(str(tmp_path)))


def test_weights_that_are_not_whole(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    files = resolve(str(tmp_path))
    shape = load_shape(files)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(files, shape)
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(files, shape)


# --- the real model ---


@pytest.mark.model
def test_the_embedded_model_agrees_with_transformers(embedded_files: ModelFiles) -> None:
    """Its own reading of the GGUF file, its own forward pass."""
    transformers = pytest.importorskip("transformers")
    path = embedded_files.path
    other = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    rng = Random(9)
    ids = tuple(rng.randrange(17, 49_000) for _ in range(150))
    with torch.inference_mode():
        expected = other(torch.tensor([ids])).logits[0]
    bench = Paged(resolve(EMBEDDED), "float32")
    trunk = Sequence(None, ids[:100])
    leaf = Sequence(trunk, ids[100:])
    steps = [((trunk, 64),), ((trunk, 36), (leaf, 49)), ((leaf, 1),)]
    found = torch.cat([bench.logits(*work) for work in steps])
    assert (found - expected).abs().max() < 1e-3

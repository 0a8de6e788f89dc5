"""The forward pass against the plainest one, however the work is cut and mixed."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from tinyllama import CONTEXT, dense  # noqa: E402

from parrotc.runtime.engines.embedded.kv import Slots, Tree  # noqa: E402
from parrotc.runtime.engines.embedded.model import Llama  # noqa: E402
from parrotc.runtime.engines.embedded.shape import load_shape  # noqa: E402
from parrotc.runtime.engines.embedded.steps import Segment, build  # noqa: E402
from parrotc.runtime.engines.embedded.weights import load_weights  # noqa: E402
from parrotc.runtime.models import EMBEDDED, ModelError, ModelFiles, resolve  # noqa: E402

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
VOCAB = 300


class Bench:
    """A model with its contexts, driven by hand; checks the logits of whatever it computes."""

    def __init__(self, folder: Path, precision: str) -> None:
        files = resolve(str(folder))
        shape = load_shape(files)
        self.weights = load_file(folder / "model.safetensors")
        self.model = Llama(shape, load_weights(files, shape), precision)
        self.tree = Tree(shape, self.model.dtype, 100_000)
        self.slots = Slots(self.tree)
        self.tolerance = TOLERANCE[precision]

    def ids_before(self, node) -> list[int]:
        return ([] if node is None else self.ids_before(node.parent)) + list(
            node.ids if node else ()
        )

    def step(self, rows, segments) -> None:
        """Run one step and compare the logits of every token in it."""
        self.slots.reserve(len(rows), 1 + max((row.fed for row in rows), default=0))
        with torch.inference_mode():
            found = self.model.logits(self.model.forward(build(rows, segments, self.slots)))
        wanted = []
        for row in rows:
            row.said.append(row.token)
            wanted.append(dense(self.weights, self.ids_before(row.parent) + row.said)[-1:])
            row.fed += 1
        for segment in segments:
            ids = self.ids_before(segment.node.parent) + list(segment.node.ids[: segment.last])
            start = segment.node.start + segment.first
            wanted.append(dense(self.weights, ids)[start:])
            segment.node.computed = segment.last
        assert (found - torch.cat(wanted)).abs().max() < self.tolerance


@pytest.fixture(params=["float32", "float64"])
def bench(tiny_folder: Path, request: pytest.FixtureRequest) -> Bench:
    return Bench(tiny_folder, request.param)


@pytest.mark.parametrize("chunks", [[40], [39, 1], [1, 39], [7] * 5 + [5]])
def test_a_prompt_in_chunks(bench: Bench, chunks: list[int]) -> None:
    rng = Random(1)
    node = bench.tree.grow(None, [rng.randrange(VOCAB) for _ in range(sum(chunks))])
    for chunk in chunks:
        bench.step([], [Segment(node, node.computed, node.computed + chunk)])


def test_a_chain_in_one_step(bench: Bench) -> None:
    """Children are computed in the same pass as the parents whose keys they read."""
    rng = Random(2)
    nodes, parent = [], None
    for length in (5, 1, 0, 12, 3):
        parent = bench.tree.grow(parent, [rng.randrange(VOCAB) for _ in range(length)])
        nodes.append(parent)
    twin = bench.tree.grow(nodes[1], [rng.randrange(VOCAB) for _ in range(4)])
    work = [node for node in (*nodes, twin) if node.ids]
    bench.step([], [Segment(node, 0, len(node.ids)) for node in work])


@pytest.mark.parametrize("seed", range(8))
def test_random_steps(bench: Bench, seed: int) -> None:
    """Trees that fork anywhere, ragged rows, prompts in chunks: all in the same steps."""
    rng = Random(seed)
    nodes = [bench.tree.grow(None, [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 20))])]
    bench.step([], [Segment(nodes[0], 0, len(nodes[0].ids))])
    rows: list[SimpleNamespace] = []
    pending = []
    for _ in range(12):
        ready = [node for node in nodes if node.is_computed]
        if rng.random() < 0.6:
            ids = [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 15))]
            nodes.append(bench.tree.grow(rng.choice(ready), ids))
            pending.append(nodes[-1])
        if rng.random() < 0.5 and len(rows) < 5:
            rows.append(SimpleNamespace(parent=rng.choice(ready), token=0, fed=0, said=[]))
        if rows and rng.random() < 0.2:  # the last row takes the place of one that ends
            at = rng.randrange(len(rows))
            last = rows.pop()
            if at < len(rows):
                rows[at] = last
                bench.slots.move(len(rows), at, last.fed)
        segments = []
        for node in [node for node in pending if rng.random() < 0.7]:
            last = rng.randrange(node.computed + 1, len(node.ids) + 1)
            segments.append(Segment(node, node.computed, last))
        for row in rows:
            row.token = rng.randrange(VOCAB)
        if rows or segments:
            bench.step(rows, segments)
        pending = [node for node in pending if not node.is_computed]


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
    files = resolve(str(tiny_folder))
    shape = load_shape(files)
    model = Llama(shape, load_weights(files, shape), precision)
    tree = Tree(shape, model.dtype, CONTEXT)
    ids = [Random(6).randrange(VOCAB) for _ in range(30)]
    node = tree.grow(None, ids)
    with torch.inference_mode():
        states = model.forward(build([], [Segment(node, 0, 30)], Slots(tree)))
        found = model.logits(states).double()
    expected = dense(load_file(tiny_folder / "model.safetensors"), ids)
    likeness = torch.nn.functional.cosine_similarity(found, expected)
    assert likeness.min() > 0.98


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "gemma"}, "architecture is gemma"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "activation is gelu"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rotary positions are scaled"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rotary positions are scaled"),
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
    files = resolve(EMBEDDED)
    shape = load_shape(files)
    model = Llama(shape, load_weights(files, shape), "float32")
    tree = Tree(shape, model.dtype, 1000)
    slots = Slots(tree)
    rng = Random(9)
    ids = [rng.randrange(17, 49_000) for _ in range(150)]
    with torch.inference_mode():
        expected = other(torch.tensor([ids])).logits[0]
        trunk = tree.grow(None, ids[:100])
        leaf = tree.grow(trunk, ids[100:149])
        first = model.forward(build([], [Segment(trunk, 0, 64)], slots))
        rest = [Segment(trunk, 64, 100), Segment(leaf, 0, 49)]
        second = model.forward(build([], rest, slots))
        slots.reserve(1, 1)
        row = SimpleNamespace(parent=leaf, token=ids[149], fed=0)
        last = model.forward(build([row], [], slots))
        found = model.logits(torch.cat([first, second, last]))
    assert (found - expected).abs().max() < 1e-3

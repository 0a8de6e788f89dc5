"""Probabilities of options: against all texts there are, over a model with a small vocabulary."""

import math
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from parrotc.runtime.engines.embedded import scoring  # noqa: E402
from parrotc.runtime.engines.embedded.scoring import logprobs, pick, probabilities  # noqa: E402
from parrotc.runtime.engines.protocol import Sampling  # noqa: E402

torch.set_num_threads(1)  # small tensors, and other tests at the same time

VOCAB, LONGEST = 3, 4
OPTIONS = st.lists(
    st.lists(st.integers(0, VOCAB - 1), max_size=LONGEST).map(tuple),
    min_size=1,
    max_size=7,
    unique=True,
)


class Chain:
    """The next token depends on the last one; a state is which that was."""

    def __init__(self, seed: int) -> None:
        noise = torch.randn(VOCAB + 1, VOCAB, generator=torch.Generator().manual_seed(seed))
        self.table = noise.double() * 2
        self.chances = self.table.softmax(1).tolist()

    def logits(self, hidden: Tensor) -> Tensor:
        return self.table[hidden[:, 0].long()]

    def states(self, ids: tuple[int, ...]) -> Tensor:
        """Before each token; before the first comes the last row."""
        return torch.tensor([[float(last)] for last in (VOCAB, *ids[:-1])])

    def p(self, ids: tuple[int, ...]) -> float:
        return math.prod(self.chances[last][token] for last, token in pairwise((VOCAB, *ids)))


@settings(deadline=None)
@given(options=OPTIONS, seed=st.integers(0, 99), chunk=st.sampled_from([1, 2, 64]))
def test_an_option_has_the_texts_that_go_no_further(
    options: list[tuple[int, ...]], seed: int, chunk: int
) -> None:
    """Every text of full length belongs to the longest option that it begins with."""
    model = Chain(seed)
    mass = dict.fromkeys(options, 0.0)
    for text in product(range(VOCAB), repeat=LONGEST):
        inside = [option for option in options if text[: len(option)] == option]
        if inside:
            mass[max(inside, key=len)] += model.p(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_ROWS", chunk)
        found = probabilities(model, options, [model.states(ids) for ids in options])
    total = math.fsum(mass.values())
    assert found == pytest.approx([mass[option] / total for option in options], abs=1e-12)


def test_logprobs_of_the_option_taken() -> None:
    model, ids = Chain(4), (2, 0, 1)
    said = logprobs(model, ids, model.states(ids), 2)
    assert [one.token for one in said] == list(ids)
    assert math.exp(sum(one.logprob for one in said)) == pytest.approx(model.p(ids))
    assert all(len(one.best) == 2 and one.best[0][1] >= one.best[1][1] for one in said)


def test_the_best_or_a_drawn_option_is_taken() -> None:
    p = [0.1, 0.6, 0.3]
    assert pick(p, Sampling(), 0.999) == 1
    hot = Sampling(temperature=1.0)
    assert [pick(p, hot, number) for number in (0.0, 0.09, 0.11, 0.69, 0.71, 1 - 2**-53)] == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip
    cold = Sampling(temperature=0.5)  # 0.01, 0.36 and 0.09 of 0.46
    assert [pick(p, cold, number) for number in (0.021, 0.022, 0.8, 0.81)] == [0, 1, 1, 2]

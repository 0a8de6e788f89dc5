"""Draws: against the plainest meaning of every limit, and that nothing but its own row decides."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from parrotc.runtime.engines.embedded import nucleus, sampler  # noqa: E402
from parrotc.runtime.engines.embedded.grammar import Grammars, Matcher  # noqa: E402
from parrotc.runtime.engines.embedded.nucleus import take  # noqa: E402
from parrotc.runtime.engines.embedded.penalties import Penalties  # noqa: E402
from parrotc.runtime.engines.embedded.sampler import Draw, draw, draw_batch  # noqa: E402
from parrotc.runtime.engines.protocol import Constraint, EngineError, Sampling  # noqa: E402
from parrotc.runtime.tokenizer import Tokenizer  # noqa: E402

torch.set_num_threads(1)  # small tensors, and other tests at the same time

Widths = tuple[tuple[int, ...], int]  # heads, and a stretch

NOTHING = float("-inf")
P = [0.5, 0.25, 0.15, 0.07, 0.03]


@dataclass
class Row:
    sampling: Sampling
    position: int = 0
    matcher: Matcher | None = None
    penalties: Penalties | None = None
    banned: Sequence[int] = ()


def tokens_of(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    drawn = draw_batch(logits.clone(), rows)
    assert all(isinstance(one, Draw) for one in drawn), drawn
    return [one.token for one in drawn]


# --- the limits, written out ---


def plain(p: Sequence[float], sampling: Sampling) -> list[float]:
    """What is left of each probability: each limit in turn, equal tokens together."""
    p = [one if one >= sampling.min_p * max(p) else 0.0 for one in p]
    best = sorted(p, reverse=True)
    if 0 < sampling.top_k < len(p):
        p = [one if one >= best[sampling.top_k - 1] else 0.0 for one in p]
    if sampling.top_p < 1:
        best, wanted = sorted(p, reverse=True), sampling.top_p * math.fsum(p)
        least = next(
            one for one, mass in zip(best, accumulate(best), strict=True) if mass >= wanted
        )
        p = [one if one >= least else 0.0 for one in p]
    return p


def middles(p: Sequence[float]) -> dict[int, float]:
    """For each token that is left, the number that points at the middle of its stretch."""
    total, before, found = math.fsum(p), 0.0, {}
    for token, share in enumerate(p):
        if share > 0:
            found[token] = (before + share / 2) / total
        before += share
    return found


def edges(p: Sequence[float], top_p: float) -> bool:
    """Whether some mass comes so near to `top_p` that rounding decides."""
    best, total = sorted(p, reverse=True), math.fsum(p)
    sums = [math.fsum(best[:n]) for n in range(1, len(best) + 1)]
    return top_p < 1 and any(abs(one - top_p * total) < 1e-9 for one in sums)


SHARES = st.lists(
    st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.0, 5.5, 40.0]) | st.integers(0, 60).map(float),
    min_size=1,
    max_size=40,
)
LIMITS = st.just(Sampling()) | st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_p=st.sampled_from([1.0, 0.999, 0.9, 0.55, 0.3, 0.01, 0.0]),
    top_k=st.sampled_from([0, 0, 1, 2, 5, 20, 100]),
    min_p=st.sampled_from([0.0, 0.0, 0.02, 0.3, 0.5, 1.0]),
    key=st.integers(0, 2**64 - 1),
)


@pytest.fixture(scope="module", params=[((64, 512), 128), ((1, 3, 10), 4)], ids=["wide", "narrow"])
def widths(request: pytest.FixtureRequest) -> Widths:
    widths: Widths = request.param
    return widths


@contextmanager
def looking_at(widths: Widths) -> Iterator[None]:
    """Narrow heads and stretches take small vocabularies through all that large ones need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nucleus, "_HEADS", widths[0])
        patch.setattr(nucleus, "_STRETCH", widths[1])
        yield


@settings(deadline=None)
@given(shares=SHARES, limits=st.lists(LIMITS, min_size=1, max_size=4))
@example(shares=[40.0] + [5.5] * 30, limits=[Sampling(top_k=20, top_p=0.55)])
@example(shares=[1.0] * 30, limits=[Sampling(), Sampling(top_k=2)])
def test_every_token_has_its_stretch(
    widths: Widths, shares: list[float], limits: list[Sampling]
) -> None:
    """The whole distribution after the limits, exactly, for several rows with limits of theirs."""
    shares = shares if any(shares) else [1.0]
    p = [share / math.fsum(shares) for share in shares]
    wanted = [
        (one, number, token)
        for one in limits
        if not edges(plain(p, replace(one, top_p=1.0)), one.top_p)
        for token, number in middles(plain(p, one)).items()
    ]
    rows = torch.tensor([p] * len(wanted), dtype=torch.float64).view(len(wanted), len(p))
    numbers = torch.tensor([number for _, number, _ in wanted], dtype=torch.float64)
    with looking_at(widths):
        taken = take(rows, numbers, [one for one, _, _ in wanted])
    assert taken.tolist() == [token for _, _, token in wanted]


@pytest.mark.parametrize(("number", "token"), [(0.0, 3), (0.5, 50), (1 - 2**-53, 98)])
@pytest.mark.parametrize("limits", [{}, {"top_k": 70}, {"top_p": 1 - 1e-12}])
def test_what_is_impossible_is_never_drawn(
    widths: Widths, number: float, token: int, limits: dict[str, float]
) -> None:
    p = torch.zeros(1, 100)
    p[0, [3, 50, 98]] = torch.tensor([0.25, 0.5, 0.25])
    with looking_at(widths):
        taken = take(p, torch.tensor([number], dtype=torch.float64), [Sampling(**limits)])
    assert taken.tolist() == [token]


@pytest.mark.parametrize(("top_p", "left"), [(0.5, 1), (0.75, 3), (0.0, 1), (1.0, 4)])
def test_the_mass_that_is_asked_for_is_enough(top_p: float, left: int) -> None:
    p = torch.tensor([[0.5, 0.25 - 2**-20, 0.125, 0.125 + 2**-20]], dtype=torch.float64)
    numbers = torch.linspace(0, 0.999, 50, dtype=torch.float64)
    taken = take(p.expand(50, -1), numbers, [Sampling(top_p=top_p)] * 50)
    assert len(set(taken.tolist())) == left


def test_sums_that_round_apart_leave_nothing_impossible() -> None:
    """A stretch summed at once may have more than its parts summed one by one: then a number
    near its end points behind all of them."""
    p = torch.zeros(60, 128, dtype=torch.float64)
    p[:, :100] = torch.rand(60, 100, generator=torch.Generator().manual_seed(1)).double() / 3
    number = 1 - 2**-53
    assert (p.sum(1) * number >= p.cumsum(1)[:, -1]).any()
    taken = take(p, torch.full((60,), number, dtype=torch.float64), [Sampling()] * 60)
    assert taken.tolist() == [99] * 60


def test_a_long_tail_counts() -> None:
    """More tokens are left than any head holds, and all of them are drawn."""
    p = torch.linspace(1, 1.001, 10_000, dtype=torch.float64)
    p /= p.sum()
    numbers = torch.linspace(0, 1 - 1e-9, 9, dtype=torch.float64)
    taken = take(p.expand(9, -1), numbers, [Sampling(top_p=0.5)] * 9).tolist()
    expected = plain(p.tolist(), Sampling(top_p=0.5))
    first = next(token for token, share in enumerate(expected) if share)
    assert (taken[0], taken[-1]) == (first, 9_999)
    assert taken[4] == pytest.approx((first + 9_999) / 2, abs=2)


@pytest.fixture(scope="module")
def processors() -> list[tuple[str, float, Any]]:
    classes = pytest.importorskip("transformers.generation.logits_process")
    return [
        ("top_k", 3, classes.TopKLogitsWarper(3)),
        ("top_p", 0.7, classes.TopPLogitsWarper(0.7)),
        ("min_p", 0.2, classes.MinPLogitsWarper(0.2)),
    ]


@settings(deadline=None)
@given(shares=SHARES, data=st.data())
def test_limits_are_those_of_transformers(
    processors: list[tuple[str, float, Any]], shares: list[float], data: st.DataObject
) -> None:
    """Each limit alone, on distributions without equal tokens: those its classes keep as the order
    of a sort happens to be, ours together."""
    order = data.draw(st.permutations(range(len(shares))))
    logits = torch.tensor([[share / 8 + n / 1000 for n, share in zip(order, shares, strict=True)]])
    for limit, value, processor in processors:
        left = processor(None, logits.clone()).double().softmax(1)[0].tolist()
        for token, number in middles(left).items():
            numbers = torch.tensor([number], dtype=torch.float64)
            got = take(logits.softmax(1), numbers, [Sampling(**{limit: value})])
            assert got.tolist() == [token]


# --- draws ---


def frequencies(count: int = 4000, **limits: float) -> list[float]:
    wanted = Sampling(**({"temperature": 1.0, "key": 7} | limits))
    rows = [Row(wanted, position) for position in range(count)]
    drawn = tokens_of(torch.tensor([P]).log().repeat(count, 1), rows)
    return [drawn.count(token) / count for token in range(len(P))]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.07, 0.03]),
        ({"temperature": 0.5}, [0.727, 0.182, 0.065, 0.014, 0.003]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.7}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_p": 0.76}, [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]),
        ({"min_p": 0.2}, [5 / 9, 2.5 / 9, 1.5 / 9, 0, 0]),
        ({"min_p": 0.2, "top_k": 2}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0, 0]),
        ({"temperature": 0.0, "top_k": 3}, [1, 0, 0, 0, 0]),
        ({"temperature": 1e-30}, [1, 0, 0, 0, 0]),
    ],
)
def test_frequencies(limits: dict[str, float], expected: list[float]) -> None:
    assert frequencies(**limits) == pytest.approx(expected, abs=0.025)


def test_draws_are_uniform_and_depend_on_key_and_position() -> None:
    numbers = torch.tensor([draw(3, n) for n in range(4000)])
    assert torch.histc(numbers, 10, 0, 1).sub(400).abs().max() < 90
    assert draw(3, 5) == draw(3, 5)
    assert len({draw(key, n) for key in range(30) for n in range(30)}) == 900


@settings(deadline=None)
@given(
    settings=st.lists(
        st.tuples(
            LIMITS | st.builds(Sampling),
            st.integers(0, 50),  # position
            st.lists(st.integers(0, 59), max_size=3),  # banned
            st.lists(st.integers(0, 59), max_size=9),  # said before
            st.sampled_from([0.5, 1.0, 1.3]),  # repetition penalty
        ),
        min_size=2,
        max_size=7,
    ),
    data=st.data(),
)
def test_a_row_is_drawn_as_if_it_were_alone(
    widths: Widths, settings: list[tuple], data: st.DataObject
) -> None:
    rows = []
    for sampling, position, banned, said, penalty in settings:
        sampling = replace(sampling, repetition_penalty=penalty, logprobs=position % 4 - 1)
        penalties = Penalties(sampling, said, 9) if sampling.has_penalties else None
        rows.append(Row(sampling, position, None, penalties, banned))
    seed = data.draw(st.integers(0, 99))
    noise = torch.randn(len(rows), 60, generator=torch.Generator().manual_seed(seed)).double()
    logits = noise.mul(4).round() / 2  # so that many tokens are equal
    order = data.draw(st.permutations(range(len(rows))))
    with looking_at(widths):
        together = draw_batch(logits[order].clone(), [rows[n] for n in order])
        apart = [draw_batch(logits[n : n + 1].clone(), [rows[n]])[0] for n in order]
    assert together == apart
    for n, alone in zip(order, apart, strict=True):
        assert isinstance(alone, Draw) and alone.token not in rows[n].banned


# --- greedy, temperature, bans, precision ---


def test_greedy_rows_take_the_best_among_others() -> None:
    """C7: a temperature of 0 divides by nothing."""
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0], [0.0, 0.0, 9.0]])
    hot = Sampling(temperature=1.0, top_k=1)
    assert tokens_of(logits, [Row(Sampling()), Row(hot), Row(Sampling())]) == [1, 0, 2]
    assert draw_batch(torch.zeros(0, 5), []) == []


def test_banned_ids_are_not_drawn_and_unknown_ones_do_not_matter() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]]).repeat(3, 1)
    rows = [Row(Sampling(), banned=ids) for ids in ((1, 77), (1, 2), ())]
    assert tokens_of(logits, rows) == [2, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_precision_will_do(dtype: torch.dtype) -> None:
    """Half precision is not what a penalty or a draw is computed in."""
    penalized = Sampling(repetition_penalty=1.005)
    logits = torch.tensor([[8.0, 7.96875]], dtype=dtype)  # next to each other in bfloat16
    assert tokens_of(logits, [Row(penalized, 0, None, Penalties(penalized, [0], 4))]) == [1]
    often = Sampling(frequency_penalty=1e-4)
    said = Penalties(often, [], 3)
    for token in (0, 0, 1):
        said.push(token)
    assert tokens_of(torch.tensor([[8.0, 8.0]], dtype=dtype), [Row(often, 3, None, said)]) == [1]
    logits = torch.tensor([[8.0, 7.0] + [NOTHING] * 8], dtype=dtype)
    hot = Sampling(temperature=1.0, key=5)
    drawn = tokens_of(logits.repeat(3000, 1), [Row(hot, n) for n in range(3000)])
    assert drawn.count(0) / 3000 == pytest.approx(1 / (1 + math.exp(-1)), abs=0.02)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), NOTHING])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("limits", [{}, {"top_p": 0.5}])
def test_a_row_of_no_numbers_fails_alone(
    bad: float, temperature: float, limits: dict[str, float]
) -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [bad] * 3, [1.0, 2.0, 3.0]])
    rows = [Row(Sampling(temperature=temperature, key=3, logprobs=1, **limits))] * 3
    first, failed, last = draw_batch(logits, rows)
    assert isinstance(failed, EngineError) and failed.code == "internal"
    assert isinstance(first, Draw) and first == last


# --- logprobs ---


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    counts=st.lists(st.integers(-1, 4), min_size=1, max_size=4),
    temperature=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_logprobs_are_those_of_the_raw_model(
    seed: int, counts: list[int], temperature: float
) -> None:
    """Whatever is penalized, banned, heated or cut, and in natural logarithms."""
    logits = torch.randn(len(counts), 9, generator=torch.Generator().manual_seed(seed)) * 3
    rows = []
    for count in counts:
        wanted = Sampling(
            temperature=temperature, top_k=4, logprobs=count, presence_penalty=1.0, key=seed
        )
        penalties = Penalties(wanted, [], 2)
        penalties.push(4)
        rows.append(Row(wanted, 0, None, penalties, banned=(1,)))
    for row, drawn, count in zip(logits, draw_batch(logits.clone(), rows), counts, strict=True):
        assert isinstance(drawn, Draw)
        if count < 0:
            assert drawn.logprob is None
            continue
        total = math.log(math.fsum(math.exp(x) for x in row.tolist()))
        plain = [x - total for x in row.tolist()]
        order = sorted(range(9), key=lambda token: -plain[token])[:count]
        assert drawn.logprob is not None and drawn.logprob.token == drawn.token
        assert drawn.logprob.logprob == pytest.approx(plain[drawn.token], abs=1e-5)
        assert [token for token, _ in drawn.logprob.best] == order
        logs = [log for _, log in drawn.logprob.best]
        assert logs == pytest.approx([plain[token] for token in order], abs=1e-5)


# --- with grammars ---


def test_rows_with_and_without_a_grammar(small: Callable[[str], Tokenizer]) -> None:
    tokenizer = small("smollm")
    grammars = Grammars(tokenizer)
    digits = {tokenizer.encode(digit)[0] for digit in "0123456789"}
    logits = torch.randn(5, tokenizer.vocab_size, generator=torch.Generator().manual_seed(2))
    rows = [
        Row(Sampling()),
        Row(Sampling(), matcher=grammars.matcher(Constraint(regex="[0-9]x"))),
        Row(Sampling(temperature=3.0, key=4)),
        Row(Sampling(temperature=3.0, top_k=500), 1, grammars.matcher(Constraint(regex="[0-9]"))),
        Row(Sampling(), matcher=grammars.matcher(Constraint(choices=("7",)))),
    ]
    drawn = tokens_of(logits, rows)
    assert drawn[0] == int(logits[0].argmax()) and drawn[1] in digits and drawn[3] in digits
    assert tokenizer.decode(drawn[4:]) == "7"
    assert drawn == [tokens_of(logits[n : n + 1], rows[n : n + 1])[0] for n in range(5)]


def test_a_grammar_that_fails_ends_its_row_only(small: Callable[[str], Tokenizer]) -> None:
    tokenizer = small("smollm")
    grammars = Grammars(tokenizer)
    broken = grammars.matcher(Constraint(regex="ab"))
    with pytest.raises(EngineError) as caught:
        broken.push(tokenizer.encode("z")[0])
    assert caught.value.code == "constraint" and "\n" not in str(caught.value)
    rows = [Row(Sampling(), matcher=broken), Row(Sampling())]
    failed, drawn = draw_batch(torch.zeros(2, tokenizer.vocab_size), rows)
    assert isinstance(failed, EngineError) and failed.code == "constraint"
    assert drawn == Draw(0)


# --- settings ---


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"top_k": -1},
        {"min_p": -0.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"presence_penalty": float("nan")},
        {"frequency_penalty": float("inf")},
        {"min_tokens": -1},
        {"logprobs": -2},
    ],
)
def test_numbers_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=f"`{name}`"):
        Sampling(**settings)


def test_the_number_drawn_is_for_key_and_position(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sampler, "draw", lambda key, position: asked.append((key, position)) or 0.5)
    hot = [Row(Sampling(temperature=1.0, key=key), position) for key, position in ((5, 0), (6, 9))]
    tokens_of(torch.zeros(3, 4), [hot[0], Row(Sampling(key=1)), hot[1]])
    assert asked == [(5, 0), (6, 9)]

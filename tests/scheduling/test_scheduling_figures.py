"""Parrot's workloads in small: who must not lose to whom. How much is the benchmark's to say."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ALONE = ("11", "12b", "13", "17")  # where programs of one kind have the service to themselves


@pytest.fixture(scope="module")
def figures() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("figures")


@pytest.fixture(scope="module")
def record(figures: Any) -> Any:
    return figures.measure_all(quick=True, only=list(figures.TITLES))


def of_figure(record: Any, figure: str) -> dict[str, Any]:
    return {each.system: each for each in record.measures if each.figure == figure}


def test_every_figure_is_measured_on_every_system(figures: Any, record: Any) -> None:
    for figure in figures.TITLES:
        systems = figures.SYSTEMS_OF.get(figure, figures.FOUR)
        assert set(of_figure(record, figure)) == {figures.SYSTEMS[key].name for key in systems}


def test_sharing_fills_less_and_is_no_slower(figures: Any, record: Any) -> None:
    for figure in figures.TITLES:
        found = of_figure(record, figure)
        assert found["prefix cache"].filled < found["FIFO"].filled
        assert found["ours"].filled < found["FIFO"].filled
        for times in found["FIFO"].times:
            assert found["prefix cache"].of(times.kind).mean <= times.mean


def test_a_program_that_is_served_whole_waits_for_fewer_round_trips(record: Any) -> None:
    for figure in ALONE:
        found = of_figure(record, figure)
        for name in ("Parrot's policies", "ours"):
            assert found[name].makespan < found["prefix cache"].makespan < found["FIFO"].makespan


def test_long_system_prompts_are_read_once(record: Any) -> None:
    found = of_figure(record, "16")
    assert found["ours"].of("GPT").mean < found["FIFO"].of("GPT").mean


def questions(figures: Any, count: int, assistants: int = 1) -> Any:
    """A case of so many equal questions to each of some assistants, all at once."""
    cases = figures.cases
    names = [f"helper{number}" for number in range(assistants)]
    program = "".join(cases.programs.assistant(name, 500, 4) for name in names)
    arrivals = [cases.Arrival(0.0, "GPT", name, {"query": "why?"}, 4) for name in names]
    return cases.Case("16", "", cases.LLAMA_7B, 1, program, tuple(arrivals * count))


def test_one_question_alone_is_answered_in_the_same_time_by_all(figures: Any) -> None:
    """Nobody has more of the machine, or a shorter way to it."""
    case = questions(figures, 1)
    found = [figures.measured(case, system)[0] for system in figures.SYSTEMS.values()]
    assert len({(one.makespan, one.filled) for one in found}) == 1


def test_only_what_is_said_not_to_share_fills_again(figures: Any) -> None:
    one, three = questions(figures, 1), questions(figures, 3)
    for system in figures.SYSTEMS.values():
        (alone, _), (found, _) = figures.measured(one, system), figures.measured(three, system)
        assert found.filled == alone.filled * (1 if system.shares else 3)


def test_a_cache_of_prefixes_saves_reading_what_all_have_and_no_more(figures: Any) -> None:
    systems = [figures.SYSTEMS[key] for key in ("cache", "ours")]
    for assistants, is_equal in ((1, True), (2, False)):
        case = questions(figures, 3, assistants)
        cache, ours = (figures.measured(case, system)[0] for system in systems)
        assert cache.filled == ours.filled
        assert (ours.makespan == cache.makespan) is is_equal and ours.makespan <= cache.makespan


def test_a_system_that_answers_otherwise_is_found_out(figures: Any) -> None:
    """In figure 16 too, whose cases are not those of the others."""
    real = figures.measured

    def wrong(case: Any, system: Any) -> Any:
        measure, answers = real(case, system)
        return measure, answers if system is figures.SYSTEMS["fifo"] else [*answers, "?"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "measured", wrong)
        record = figures.Record()
        record.run(questions(figures, 1), figures.SYSTEMS["fifo"])
        with pytest.raises(RuntimeError, match="answers otherwise"):
            record.run(questions(figures, 1), figures.SYSTEMS["ours"])
        record.sweep(figures.SYSTEMS["fifo"], [1.0], 3.0)
        with pytest.raises(RuntimeError, match="answers otherwise"):
            record.sweep(figures.SYSTEMS["ours"], [1.0], 3.0)


def test_tables_have_a_row_for_each_setting_and_kind(figures: Any, record: Any) -> None:
    text = "\n\n".join(figures.tables(record))
    assert all(f"**{title}**" in text for title in figures.TITLES.values())
    mixed = next(table for table in figures.tables(record) if "Figure 18" in table)
    assert [line.split(":")[-1].split("|")[0].strip() for line in mixed.splitlines()[4:]] == [
        "chat",
        "job",
    ]

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
    return {each.system: each for each in record.of(figure)}


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


def measured(figures: Any, case: Any, system: Any) -> Any:
    [(measure, _)] = figures.measured(case, system)
    return measure


def test_one_question_alone_is_answered_in_the_same_time_by_all(figures: Any) -> None:
    """Nobody has more of the machine, or a shorter way to it."""
    case = questions(figures, 1)
    found = [measured(figures, case, system) for system in figures.SYSTEMS.values()]
    assert len({(one.makespan, one.filled) for one in found}) == 1


def test_only_what_is_said_not_to_share_fills_again(figures: Any) -> None:
    one, three = questions(figures, 1), questions(figures, 3)
    for system in figures.SYSTEMS.values():
        alone, found = measured(figures, one, system), measured(figures, three, system)
        assert found.filled == alone.filled * (1 if system.shares else 3)


def test_a_cache_of_prefixes_saves_reading_what_all_have_and_no_more(figures: Any) -> None:
    systems = [figures.SYSTEMS[key] for key in ("cache", "ours")]
    for assistants, is_equal in ((1, True), (2, False)):
        case = questions(figures, 3, assistants)
        cache, ours = (measured(figures, case, system) for system in systems)
        assert cache.filled == ours.filled
        assert (ours.makespan == cache.makespan) is is_equal and ours.makespan <= cache.makespan


def test_a_system_that_answers_otherwise_is_found_out(figures: Any) -> None:
    """In figure 16 too, whose cases are not those of the others."""
    case, fifo, ours = questions(figures, 1), figures.SYSTEMS["fifo"], figures.SYSTEMS["ours"]
    for outcomes in (figures.measured(case, ours), figures.swept([1.0], 3.0, ours)):
        record = figures.Record()
        record.add(figures.measured(case, fifo))
        record.add(figures.swept([1.0], 3.0, fifo))
        record.add(outcomes)
        with pytest.raises(RuntimeError, match="answers otherwise"):
            record.add([(measure, f"not {answers}") for measure, answers in outcomes])


def test_answers_are_compared_by_what_they_say(figures: Any) -> None:
    """Not by how they came about: systems agree, and other questions have another digest."""
    one, other = questions(figures, 1), questions(figures, 2)
    digests = [
        {figures.measured(case, figures.SYSTEMS[key])[0][1] for key in ("fifo", "ours")}
        for case in (one, other)
    ]
    assert list(map(len, digests)) == [1, 1] and digests[0] != digests[1]


def test_rates_rise_until_one_is_not_sustained(figures: Any) -> None:
    fifo = figures.SYSTEMS["fifo"]
    record = figures.Record()
    record.add(figures.swept([1.0, 40.0, 60.0], 3.0, fifo))
    assert [measure.numbers for measure in record.of("16")] == [(1.0,), (40.0,)]
    assert record.sustained(fifo.name) == 1.0
    assert record.sustained("nobody") == 0.0


def test_processes_measure_what_one_does(figures: Any, record: Any) -> None:
    found = figures.measure_all(quick=True, only=["11", "16", "17"], processes=2)
    assert found.measures == [each for name in ("11", "17", "16") for each in record.of(name)]


def test_what_is_saved_is_read_again(record: Any, figures: Any, tmp_path: Path) -> None:
    record.save(tmp_path / "figures.json")
    again = figures.Record.load(tmp_path / "figures.json")
    assert again.measures == record.measures


def test_tables_have_a_row_for_each_setting_and_kind(figures: Any, record: Any) -> None:
    blocks = figures.blocks(record)
    assert list(blocks) == [f"figure {name}" for name in figures.TITLES]
    rows = [line.split("|")[1].strip() for line in blocks["figure 18"].splitlines()[6:]]
    assert rows == ["1 chats/s, 3 jobs: chat", "1 chats/s, 3 jobs: job", "ours takes: chat",
                    "ours takes: job"]  # fmt: skip


def test_ours_is_compared_from_its_best_to_its_worst_case(figures: Any) -> None:
    """Only where both were measured."""
    measuring = import_module("figure_parts.measuring")
    record = figures.Record()
    for setting, fifo, ours in (("1 file", 1.0, 0.5), ("2 files", 1.0, 1.25), ("3 files", 0, 9.0)):
        for name, seconds in (("FIFO", fifo), ("ours", ours)):
            if seconds:
                times = measuring.Times("project", 1, seconds, seconds, seconds, seconds)
                measure = measuring.Measure("17", setting, name, (times,), seconds, 1)
                record.add([(measure, "")])
    table = figures.blocks(record)["figure 17"]
    assert table.splitlines()[-1] == "| ours takes | −50 % to +25 % |  |"
    assert "| 2 files | 1.00 | 1.25 |" in table

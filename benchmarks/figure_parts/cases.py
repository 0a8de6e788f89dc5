"""The figures as cases: which applications arrive when, on which machine.

Lengths and numbers are those of the artifact of Parrot where it has them: 1,024 tokens a part and
50 an answer, four GPTs in equal shares, nine jobs beside 40 chats. Papers have 20 parts, chats the
mean lengths of ShareGPT (161 and 338 tokens); lengths of agents are chosen here. Everything is
drawn from seeds, so every system gets the same at the same times.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as joined
from random import Random
from typing import Any

from figure_parts import programs
from figure_parts.machine import LLAMA_7B, LLAMA_13B, Model

PART, ANSWER, PAPER = 1024, 50, 20 * 1024  # tokens
APART = 1000.0  # seconds, after which an application is alone
# flow, system prompt, query, answer
GPTS = (
    ("productivity", 7437, 7, 704),
    ("images", 1116, 8, 89),
    ("programming", 1694, 4, 631),
    ("analysis", 2031, 4, 416),
)
CHATS = (40, 120, 250, 450, 830)  # tokens of answers, as often as each other
JOBS = (0.0, 0.5, 1.0, 11.0, 11.5, 12.0, 22.0, 22.5, 23.0)  # seconds


@dataclass(frozen=True, slots=True)
class Arrival:
    """An application of some `kind`, which runs `flow`; its answer has `tokens`."""

    at: float
    kind: str
    flow: str
    args: dict[str, Any]
    tokens: int


@dataclass(frozen=True, slots=True)
class Case:
    figure: str
    setting: str
    model: Model
    gpus: int
    program: str
    arrivals: tuple[Arrival, ...]


# --- applications ---


def _parts(random: Random, paper: int, part: int) -> list[str]:
    return [programs.words(random, part) for _ in range(max(1, round(paper / part)))]


def _chain(random: Random, at: float, paper: int, part: int, output: int) -> Arrival:
    first, *rest = _parts(random, paper, part)
    return Arrival(at, "chain", "chain", {"first": first, "rest": rest}, output)


def _map_reduce(random: Random, at: float, paper: int, part: int, output: int) -> Arrival:
    args = {"parts": _parts(random, paper, part)}
    return Arrival(at, "job", "map_reduce", args, output)


def _chats(random: Random, rate: float, seconds: float) -> Iterator[Arrival]:
    for at in _poisson(random, rate, seconds):
        output = random.choice(CHATS)
        message = programs.words(random, random.randrange(20, 302))
        yield Arrival(at, "chat", f"chat{output}", {"message": message}, output)


def _poisson(random: Random, rate: float, seconds: float) -> Iterator[float]:
    at = random.expovariate(rate)
    while at < seconds:
        yield at
        at += random.expovariate(rate)


_CHAT = "".join(map(programs.chat, CHATS))


# --- figures ---


def chains_alone(part: int, output: int, papers: int, paper: int = PAPER) -> Case:
    """Figure 11: one paper after another."""
    random = Random(11)
    arrivals = [_chain(random, APART * n, paper, part, output) for n in range(papers)]
    setting = f"parts of {part:,}, answers of {output}"
    return Case("11", setting, LLAMA_13B, 1, programs.chain(output), tuple(arrivals))


def chains_beside_chats(rate: float, papers: int, paper: int = PAPER) -> Case:
    """Figure 12, left: a paper every 30 seconds, while chats come all the time."""
    random = Random(12)
    seconds = 30.0 * papers
    chains = [_chain(random, 30.0 * n, paper, PART, ANSWER) for n in range(papers)]
    arrivals = sorted(joined(chains, _chats(random, rate, seconds)), key=lambda each: each.at)
    program = programs.chain(ANSWER) + _CHAT
    return Case("12a", f"{rate:g} chats/s beside", LLAMA_13B, 1, program, tuple(arrivals))


def chains_at_once(papers: int, paper: int = PAPER) -> Case:
    """Figure 12, right: many papers at the same time."""
    random = Random(12)
    arrivals = [_chain(random, 0.0, paper, PART, ANSWER) for _ in range(papers)]
    setting = f"{papers} papers at once"
    return Case("12b", setting, LLAMA_13B, 1, programs.chain(ANSWER), tuple(arrivals))


def map_reduces_alone(part: int, output: int, papers: int, paper: int = PAPER) -> Case:
    """Figure 13: as figure 11, all parts at once and then their summaries."""
    random = Random(13)
    arrivals = [_map_reduce(random, APART * n, paper, part, output) for n in range(papers)]
    setting = f"parts of {part:,}, answers of {output}"
    return Case("13", setting, LLAMA_13B, 1, programs.map_reduce(output), tuple(arrivals))


def gpts(rate: float, seconds: float) -> Case:
    """Figure 16: four applications with long system prompts, asked by many."""
    random = Random(16)
    arrivals = []
    for at in _poisson(random, rate, seconds):
        name, _, query, answer = random.choice(GPTS)
        arrivals.append(Arrival(at, "GPT", name, {"query": programs.words(random, query)}, answer))
    program = "".join(programs.assistant(name, prompt, out) for name, prompt, _, out in GPTS)
    return Case("16", f"{rate:g} a second", LLAMA_7B, 4, program, tuple(arrivals))


def agents(files: int, rounds: int) -> Case:
    """Figure 17: a project is written by many hands."""
    random = Random(17)
    args = {
        "task": programs.words(random, 200),
        "files": [programs.words(random, 20) for _ in range(files)],
    }
    arrival = Arrival(0.0, "project", "agents", args, 350)
    return Case("17", f"{files} files", LLAMA_13B, 1, programs.agents(rounds), (arrival,))


def chats_beside_jobs(scale: int, seconds: float, paper: int = PAPER) -> Case:
    """Figure 18: people chat while documents are summarised; `scale` times as many as there."""
    random = Random(18)
    begin = seconds / 8
    jobs = [
        _map_reduce(random, begin + at, paper, PART, ANSWER)
        for at in JOBS
        if begin + at < seconds
        for _ in range(scale)
    ]
    chats = _chats(random, 1.0 * scale, seconds)
    arrivals = sorted(joined(jobs, chats), key=lambda each: each.at)
    setting = f"{scale} chats/s, {len(jobs)} jobs"
    program = programs.map_reduce(ANSWER) + _CHAT
    return Case("18", setting, LLAMA_7B, 4, program, tuple(arrivals))


def cases(quick: bool) -> list[Case]:
    """All but figure 16, whose rates depend on what each system sustains."""
    if quick:
        short = 3 * PART
        return [
            chains_alone(PART, 25, 1, short),
            chains_beside_chats(2.0, 1, short),
            chains_at_once(4, short),
            map_reduces_alone(PART, 25, 1, 2 * short),
            agents(4, 1),
            chats_beside_jobs(1, 10.0, short),
        ]
    lengths = [(PART, output) for output in (25, 50, 75, 100)]
    lengths += [(part, ANSWER) for part in (512, 1536, 2048)]
    return [
        *(chains_alone(part, output, 10) for part, output in lengths),
        *(chains_beside_chats(rate, 3) for rate in (1.0, 2.0, 3.0, 4.0)),
        *(chains_at_once(papers) for papers in (10, 15, 20, 25)),
        *(map_reduces_alone(part, output, 10) for part, output in lengths),
        *(agents(files, 3) for files in (4, 8, 12, 16)),
        *(chats_beside_jobs(scale, 40.0) for scale in (1, 4, 8)),
    ]

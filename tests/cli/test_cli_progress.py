"""What a run tells while it goes on."""

import io
import json

from parrotc.cli.progress import Watch, saved, summary
from parrotc.runtime.trace import Counters, Event


def told(watch: Watch, *events: tuple[str, str, str]) -> Watch:
    for kind, site, text in events:
        watch(Event(kind, site, Counters(), (), text))
    return watch


def test_the_text_of_one_call_is_shown_until_it_is_done() -> None:
    watch = Watch("main", stats=False, log=None)
    told(watch, ("text", "a", "one "), ("text", "b", "mixed "), ("text", "a", "two"))
    assert watch.text == "one two"
    told(watch, ("finished", "b", ""), ("text", "a", "."), ("finished", "a", ""))
    assert watch.text == "one two."
    assert told(watch, ("text", "b", "next")).text == "next"


def test_a_long_text_is_kept_short() -> None:
    watch = Watch("main", stats=False, log=None)
    told(watch, ("text", "a", "x" * 5000), ("text", "a", "y"))
    assert len(watch.text) < 500 and watch.text.endswith("y")


def test_every_event_goes_into_the_log() -> None:
    log = io.StringIO()
    told(Watch("main", stats=False, log=log), ("text", "a", "ü\n"), ("finished", "a", ""))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["text"]) for line in lines] == [("text", "ü\n"), ("finished", "")]


def test_the_summary_counts_what_sharing_saved() -> None:
    counters = Counters(
        calls_done=3, tokens_generated=30, tokens_filled=60, tokens_without_sharing=240
    )
    assert saved(counters) == "sharing saved 180 of 240 (75%)"
    assert summary(counters, 2.0).startswith("3 calls in 2.0 s: 30 tokens generated (15/s)")
    assert saved(Counters(tokens_filled=60, tokens_without_sharing=60)) == "nothing to share"

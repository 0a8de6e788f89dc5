"""What prompts begin with: a tree, and one for all models that one engine serves."""

from fakes import StrictEngine
from hypothesis import given
from hypothesis import strategies as st
from plans import executor_of, plan_of

from parrotc.runtime.starts import Start

Ids = tuple[int, ...]
IDS = st.lists(st.integers(0, 2), max_size=5).map(tuple)


def spelling(place: Start | None) -> Ids:
    ids: Ids = ()
    while place is not None:
        place, ids = place.parent, place.ids + ids
    return ids


@given(st.lists(st.tuples(st.integers(0, 9), IDS), max_size=12))
def test_every_place_spells_what_led_to_it_and_nothing_is_there_twice(
    asked: list[tuple[int, Ids]],
) -> None:
    root = Start()
    places, wanted = [root], [()]
    for after, ids in asked:
        wanted.append(wanted[after % len(places)] + ids)
        places.append(places[after % len(places)].then(ids))
    assert [spelling(place) for place in places] == wanted
    below = list(root.below())
    beginnings = {ids[:end] for ids in wanted for end in range(1, len(ids) + 1)}
    assert sum(len(place.ids) for place in below) == len(beginnings)
    seen = {root}
    for place in below:
        assert place.parent in seen, "parents come first"
        seen.add(place)
    assert set(places) <= seen


def test_of_two_that_end_at_one_place_the_sooner_use_counts() -> None:
    place = Start().then((1, 2))
    assert place.next_use is None
    for told, known in ((None, None), (7.0, 7.0), (3.0, 3.0), (None, 3.0), (9.0, 3.0)):
        place.expect(told)
        assert place.next_use == known


TWO = """
module @m {
  model @small = reference ""
  model @large = reference ""
  prefix @p on @small = ids[1, 2, 3] "abc"
  prefix @q on @large = ids[1, 2, 4] "abd"
  prefix @r on @large after @q = ids[5] "e"
  prefix @same on @small after @p = ids[] ""
  flow @main(%t: str) -> str {
    %c = context.open @small prefix @same
    %c1 = context.fill %c, %t
    %c2, %a = context.gen %c1 site "main.0/0" name "" (max_tokens = 3) : str
    %d = context.open @large prefix @r
    %d1 = context.fill %d, %a
    %d2, %b = context.gen %d1 site "main.1/0" name "" (max_tokens = 3) : str
    return %b
  }
}
"""


async def test_models_on_one_engine_share_how_their_prompts_begin() -> None:
    plan = plan_of(TWO)
    engine = StrictEngine()
    executor = executor_of(plan, engine)
    await executor.run("main", {"t": "x"})
    assert sorted(engine.live.values()) == [(1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 4, 5)]
    prompts = [seen.prompt for seen in engine.seen]
    assert prompts[0] == (1, 2, 3, ord("x"))
    assert prompts[1][:4] == (1, 2, 4, 5)
    assert engine.filled == sum(map(len, prompts)) - 2
    await executor.close()
    assert engine.live == {}

"""`std.qa`: what is found shares words with the question, and what is cited exists."""

from hypothesis import given
from hypothesis import strategies as st

from parrotc.stdlib.qa import Answer, Passage, checked, search

WORDS = st.sampled_from(["boat", "Boats", "noon", "the", "cat", "ship"])
PASSAGES = st.lists(st.lists(WORDS, max_size=5).map(" ".join), max_size=6).map(
    lambda texts: [Passage(str(at), text) for at, text in enumerate(texts)]
)


@given(passages=PASSAGES, question=st.lists(WORDS, max_size=3).map(" ".join), k=st.integers(-1, 7))
def test_what_is_found_shares_a_word(passages: list[Passage], question: str, k: int) -> None:
    asked = {word.casefold().removesuffix("s") for word in question.split()}
    sharing = [
        passage
        for passage in passages
        if asked & {word.casefold().removesuffix("s") for word in passage.text.split()}
    ]
    found = search(question, passages, k)
    assert len(found) == min(max(k, 0), len(sharing))
    assert all(passage in sharing for passage in found)
    assert len({passage.id for passage in found}) == len(found)
    assert search(question, passages, len(passages))[: max(k, 0)] == found


def test_rare_words_and_short_passages_tell_more() -> None:
    passages = [
        Passage("common", "the the the boat"),
        Passage("rare", "the anchor"),
        Passage("long", "the boat " + "and so on " * 9),
        Passage("equal", "the the the boat"),
    ]
    assert [p.id for p in search("the anchor", passages, 1)] == ["rare"]
    assert [p.id for p in search("boat", passages)] == ["common", "equal", "long"]
    often = [Passage(str(at), "the the the") for at in range(3)] + [
        Passage("once", "anchor ship sea")
    ]
    assert search("the anchor", often, 1) == [often[3]], "a word that few have tells more"
    assert search("", passages) == [] == search("boat", [])


@given(numbers=st.lists(st.integers(-2, 6), max_size=6), count=st.integers(0, 4))
def test_citations_are_looked_up(numbers: list[int], count: int) -> None:
    passages = [Passage(f"p{at}", "") for at in range(1, count + 1)]
    found = checked(Answer("text", numbers), passages)
    assert found.text == "text"
    assert sorted([int(p.id[1:]) for p in found.passages] + found.unknown) == sorted(set(numbers))
    assert all(not 1 <= number <= count for number in found.unknown)
    order = [numbers.index(int(p.id[1:])) for p in found.passages]
    assert order == sorted(order), "in the order in which they are cited"

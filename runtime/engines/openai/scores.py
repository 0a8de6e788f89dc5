"""How probable each of some choices is, from the probabilities of tokens along one answer.

    choices billing, bug, other        the answer "billing", and at its first token
    {"b": 0.6, "other": 0.3, "no": 0.1}     → other 0.3, and 0.6 for billing and bug together

What lies on the way of the answer is told apart at the next token. Choices that leave it together
are asked about again, with nothing else to choose from; so are those that begin with the answer.
Probabilities are taken for those of the model itself, before it was held to the choices. A choice
none of whose tokens an endpoint tells of counts as 0.
"""

from collections.abc import Awaitable, Callable, Sequence

from parrotc.runtime.engines.openai.replies import Place

Choices = tuple[str, ...]
Places = Sequence[Place]
Ask = Callable[[Choices], Awaitable[Places]]


async def distribution(choices: Choices, places: Places, ask: Ask) -> dict[str, float]:
    """The probability of each choice, together 1 (all the same where the endpoint tells nothing).

    `ask` gives the answer of an endpoint that may choose only among some of them.
    """
    weights = await _weights(choices, places, ask)
    total = sum(weights.values())
    if total <= 0.0:
        return dict.fromkeys(choices, 1.0 / len(choices))
    return {choice: weights.get(choice, 0.0) / total for choice in choices}


async def _weights(choices: Choices, places: Places, ask: Ask) -> dict[str, float]:
    weights: dict[str, float] = {}
    alive, said, mass = choices, "", 1.0
    for place in places:
        groups = _groups(alive, said, place)
        stay = groups.pop(place.token, ())
        told = _told(place)
        for token, group in groups.items():
            weights |= await _shared(group, mass * told[token], len(choices), ask)
        if said in alive:  # it may end here: with what no longer choice takes
            taken = told[place.token] * bool(stay) + sum(told[token] for token in groups)
            weights[said] = mass * max(0.0, 1.0 - taken)
        alive, said, mass = stay, said + place.token, mass * told[place.token]
        if len(alive) <= 1:
            break
    if said in alive and len(alive) > 1:  # nobody told of the ones that go on from here
        longer = tuple(choice for choice in alive if choice != said)
        places = await ask(longer)
        share = _beyond(longer, said, places)
        inside = await distribution(longer, places, ask)
        weights |= {choice: mass * share * p for choice, p in inside.items()}
        return weights | {said: mass * (1.0 - share)}
    return weights | {choice: mass / len(alive) for choice in alive}


def _groups(alive: Choices, said: str, place: Place) -> dict[str, Choices]:
    """The choices by the token that each goes on with: the longest of those that are told."""
    tokens = sorted({place.token, *dict(place.best)} - {""}, key=len, reverse=True)
    groups: dict[str, Choices] = {}
    for choice in alive:
        token = next((one for one in tokens if choice.startswith(said + one)), None)
        if token is not None:
            groups[token] = (*groups.get(token, ()), choice)
    return groups


def _beyond(longer: Choices, said: str, places: Places) -> float:
    """How probable it is that a text does not end with `said`, but goes on as one of `longer`."""
    text = ""
    for place in places:
        if text == said:
            told = _told(place)
            return min(1.0, sum(told[token] for token in _groups(longer, said, place)))
        text += place.token
    return 0.0


def _told(place: Place) -> dict[str, float]:
    return {place.token: place.p, **dict(place.best)}


async def _shared(group: Choices, share: float, others: int, ask: Ask) -> dict[str, float]:
    """The share of a group among its choices. Asking again must leave fewer of them to tell."""
    if len(group) == 1 or len(group) == others:
        return {choice: share / len(group) for choice in group}
    inside = await distribution(group, await ask(group), ask)
    return {choice: share * p for choice, p in inside.items()}

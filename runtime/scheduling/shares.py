"""How much each tenant has had, so that the one that has had least is served next.

A tenant's `used` grows by the engine seconds of each of its calls over its weight, when the call
is placed (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). Who was away comes back
with no less than whoever is being served then, so nobody saves up a burst. What an estimate was
wrong by is settled with the next calls, and `used` never falls: queues rely on that.

Each model has an account of its own, since its engines are: what a tenant has had of one model was
taken from nobody who waits for another. With one account for all, a tenant that used an idle model
for an hour would get nothing of a busy one until the others there had had an hour too; so each is
sure of its part of every model, whatever it does elsewhere.
"""

from collections import OrderedDict
from collections.abc import Mapping

REMEMBERED = 60.0  # seconds that the share of a tenant without calls is kept


class Share:
    """One tenant's. `calls` counts those that wait or run, `queued` those that wait."""

    __slots__ = ("calls", "owed", "queued", "tenant", "used", "weight")

    def __init__(self, tenant: str, weight: float) -> None:
        self.tenant, self.weight = tenant, weight
        self.used = 0.0
        self.owed = 0.0  # engine seconds that the tenant is to be given back, if above 0
        self.calls = self.queued = 0

    def raise_to(self, floor: float) -> None:
        self.used = max(self.used, floor)

    def charge(self, seconds: float) -> None:
        """Book `seconds` of an engine, less what is owed."""
        seconds -= self.owed
        self.owed = max(0.0, -seconds)
        self.used += max(0.0, seconds) / self.weight

    def settle(self, charged: float, seconds: float) -> None:
        """A call that was booked with `charged` has taken `seconds`."""
        self.owed += charged - seconds


class Shares:
    """The shares of all tenants of a model."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._shares: dict[str, Share] = {}
        self._idle: OrderedDict[str, float] = OrderedDict()  # since when

    def __len__(self) -> int:
        return len(self._shares)

    def get(self, tenant: str) -> Share:
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Share(tenant, self._weights.get(tenant, 1.0))
        return share

    def begin(self, tenant: str) -> Share:
        """One more call of `tenant`."""
        share = self.get(tenant)
        share.calls += 1
        self._idle.pop(tenant, None)
        return share

    def end(self, tenant: str, now: float) -> None:
        """One call less. Shares that were idle for long are forgotten."""
        share = self._shares[tenant]
        share.calls -= 1
        if not share.calls:
            self._idle[tenant] = now
        while self._idle and next(iter(self._idle.values())) < now - REMEMBERED:
            gone, _ = self._idle.popitem(last=False)
            del self._shares[gone]

"""Plans that tenants have stored, by name. What a name stands for is its content (`digest`)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from parrotc.runtime.core.errors import Busy, Invalid, NotFound
from parrotc.runtime.core.views import PlanView
from parrotc.runtime.plan import Flow, Plan, PlanError
from parrotc.runtime.steps import Generate, walk


@dataclass(frozen=True, slots=True)
class StoredPlan:
    name: str
    plan: Plan
    raw: bytes
    _variables: dict[str, dict[str, str]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        return self.plan.digest

    def view(self) -> PlanView:
        flows = {flow.name: self.plan.signature(flow) for flow in self.plan.flows}
        return PlanView(self.name, self.digest, flows)

    def flow(self, name: str) -> Flow:
        """Raises `NotFound`."""
        try:
            return self.plan.flow(name)
        except KeyError:
            known = ", ".join(flow.name for flow in self.plan.flows)
            raise NotFound(f"the plan has no flow `{name[:100]}`; it has {known}") from None

    def variables(self, flow: Flow) -> dict[str, str]:
        """The name of what is generated at each site of a flow."""
        if flow.name not in self._variables:
            steps = (step for step in walk(flow.block) if isinstance(step, Generate))
            self._variables[flow.name] = {step.site: step.results[1] for step in steps}
        return self._variables[flow.name]


def read_plan(name: str, raw: bytes) -> StoredPlan:
    """Raises `Invalid` with the plan's own diagnostic. Slow for large ones: run it on a thread."""
    try:
        return StoredPlan(name, Plan.from_json(raw), raw)
    except PlanError as error:
        raise Invalid(error.diagnostic.message, diagnostic=error.diagnostic) from None


class Plans:
    """Those of all tenants, each of which has `most` at most and sees its own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._plans: dict[str, dict[str, StoredPlan]] = {}  # by tenant, and name

    def put(self, tenant: str, plan: StoredPlan) -> StoredPlan | None:
        """Store a plan; gives the one that had the name before. Raises `Busy`."""
        own = self._plans.setdefault(tenant, {})
        if plan.name not in own and len(own) >= self._most:
            raise Busy(f"{self._most:,} plans are stored already", "delete one that is not needed")
        before = own.get(plan.name)
        own[plan.name] = plan
        return before

    def find(self, tenant: str, name: str) -> StoredPlan:
        """Raises `NotFound`."""
        found = self._plans.get(tenant, {}).get(name)
        if found is None:
            raise NotFound(f"there is no plan `{name[:100]}`")
        return found

    def of(self, tenant: str) -> list[StoredPlan]:
        return list(self._plans.get(tenant, {}).values())

    def delete(self, tenant: str, name: str) -> StoredPlan:
        """Raises `NotFound`."""
        found = self.find(tenant, name)
        del self._plans[tenant][name]
        return found

    def __iter__(self) -> Iterator[StoredPlan]:
        for own in self._plans.values():
            yield from own.values()

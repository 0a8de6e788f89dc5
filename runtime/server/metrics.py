"""What `/metrics` tells Prometheus. Every app has a registry of its own: nothing is global.

Counted here is what the HTTP face sees: requests, their time, tokens of OpenAI's routes, the
delay of the loop. What the core knows of itself is read from it at the moment of a scrape.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from parrotc.runtime.core.core import ServeCore

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_DELAYS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    def __init__(self, core: ServeCore) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "parrotc_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "parrotc_request_seconds", "From a request to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.open = Gauge(
            "parrotc_requests_open", "Requests that are being answered.", registry=registry
        )
        self.first_token = Histogram(
            "parrotc_first_token_seconds", "From a request to the first token of its text.",
            ["model"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "parrotc_tokens", "Tokens of OpenAI's routes.", ["model", "kind"], registry=registry
        )
        self.loop_delay = Histogram(
            "parrotc_loop_delay_seconds", "How late the event loop was.",
            buckets=_DELAYS, registry=registry,
        )  # fmt: skip
        registry.register(_Core(core))

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Core(Collector):
    """The core's own numbers, as they are when somebody asks."""

    def __init__(self, core: ServeCore) -> None:
        self._core = core

    def collect(self) -> Iterable[Metric]:
        for name, value in self._core.stats().items():
            yield GaugeMetricFamily(f"parrotc_core_{name}", f"{name} of the core.", value=value)
        states = GaugeMetricFamily(
            "parrotc_engine_up", "Whether an engine is given work.", labels=["engine", "state"]
        )
        running = GaugeMetricFamily(
            "parrotc_engine_running", "Generations of an engine.", labels=["engine"]
        )
        for engine in self._core.engines():
            states.add_metric([engine.name, engine.state], float(engine.state == "up"))
            running.add_metric([engine.name], engine.running)
        yield from (states, running)

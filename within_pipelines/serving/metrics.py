"""Numbers about the running server, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One set per app, in a registry of its own, so that two apps in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("within_requests", "Requests answered.", "route", "method", "status")
        self.latency = Histogram(
            "within_request_seconds", "Time from the first byte to the last.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.predictions = self._counter("within_predictions", "Items answered.", "model", "version", "role")
        self.batch = Histogram(
            "within_batch_requests", "Requests computed together.", ["model"], buckets=(1, 2, 4, 8, 16, 32), registry=self.registry
        )
        self.texts = self._counter("within_texts", "Texts of creatives by whether their meaning was remembered.", "cache")
        self.serving = Gauge("within_serving_version", "Version that answers as champion.", ["model"], registry=self.registry)
        self.swaps = self._counter("within_swaps", "Attempts to take up another version.", "model", "result")
        self.registry_reachable = Gauge("within_registry_reachable", "1 while the registry answers.", registry=self.registry)
        self.log_waiting = Gauge("within_log_waiting", "Answers that wait to be written down.", registry=self.registry)
        self.log_written = self._counter("within_log_written", "Records in the spool.")
        self.log_dropped = self._counter("within_log_dropped", "Records that were lost because queue or disk were full.")
        self.log_loaded = self._counter("within_log_loaded", "Records that the database took as new.")
        self.log_torn = self._counter("within_log_torn", "Lines of the spool that a crash cut short.")
        self.spool_files = Gauge("within_spool_files", "Ended spool files that wait for the database.", registry=self.registry)
        self.shadow = self._counter("within_shadow", "Items for the shadow: asked, dropped, of those while it started, restarted.", "event")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, list(labels), registry=self.registry)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)

"""Prometheus metrics: read from the database at each scrape; the only state is a count of pulls since the start."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter
from litestar.response import Response
from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from app import __version__
from app.access.route_guards import require_monitor
from app.backup.status import BackupStatus, read_backup_status
from app.config import Config
from app.federation.service import Federation
from app.federation.status import PullOutcome, UpstreamStatus
from app.http.described import described
from app.http.timestamps import from_text
from app.metrics_store import Counts, Measures, measure
from app.storage import Storage

TEXT = exposition.CONTENT_TYPE_PLAIN_0_0_4.removesuffix("; charset=utf-8")
"""Without the character set, which Litestar adds to every text."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
Samples = Iterable[tuple[Sequence[str], float]]
"""`(values of the labels, value)`."""


@get("/metrics", guards=[require_monitor()], **described(str, media="text/plain"))
async def metrics(
    config: NamedDependency[Config],
    storage: NamedDependency[Storage],
    federation: NamedDependency[Federation],
    now: NamedDependency[datetime],
    accept: Annotated[str, HeaderParameter(name="Accept")] = "",
) -> Response[bytes]:
    """Return the metrics in Prometheus' text format, or in OpenMetrics for a client that accepts that."""
    measures = await storage.read(lambda db: measure(db, config.upstream, now))
    page = _Page(measures, federation.outcomes, storage.path, read_backup_status(config.state_dir))
    if openmetrics.CONTENT_TYPE_LATEST.partition(";")[0] in accept:
        body: bytes = openmetrics.generate_latest(page)  # type: ignore[no-untyped-call]
        media = openmetrics.CONTENT_TYPE_LATEST
    else:
        body, media = exposition.generate_latest(page), TEXT
    return Response(body, media_type=media, headers={"Cache-Control": "no-store"})


@dataclass(frozen=True, slots=True)
class _Page:
    """Everything that one scrape shows, as prometheus_client collects it."""

    measures: Measures
    pulls: Mapping[tuple[str, PullOutcome], int]
    database: Path
    backups: BackupStatus

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample at present."""
        yield InfoMetricFamily("threatcloud_build", "The release that runs.", value={"version": __version__})
        yield from self._served()
        yield from self._upstreams()
        yield from self._instance()
        yield from self._backups()

    def _served(self) -> Iterator[Metric]:
        found = self.measures
        if found.serial is not None and found.published_at is not None:
            serial, instant = found.serial, from_text(found.published_at)
            yield _gauge("publication_serial", "Serial of the publication that is served.", [((), serial)])
            name, text = "publication_published_timestamp_seconds", "When it was published."
            yield _gauge(name, text, [((), instant.timestamp())])
        rules = [((origin, state), count) for origin, state, count in found.rules]
        yield _gauge("rules", "Rules that are held, by origin and state.", rules, "origin", "state")
        yield _gauge("served_rules", "Rules of the publication that is served.", _by(found.served), "source")
        yield _gauge("proposals", "Proposals by status.", _by(found.proposals), "status")
        yield _gauge("keys", "Keys that are not revoked.", _by(found.keys), "role")
        yield _gauge("overlay_entries", "Overlay entries by state.", _by(found.overlay), "state")
        text = "Overlay entries whose rule upstream has changed since."
        yield _gauge("overlay_base_moved", text, [((), found.overlay_base_moved)])

    def _upstreams(self) -> Iterator[Metric]:
        upstreams = self.measures.upstreams
        for name, (text, value) in _OF_EACH_UPSTREAM.items():
            samples = [((s.name,), found) for s in upstreams if (found := value(s)) is not None]
            yield _gauge(f"upstream_{name}", text, samples, "upstream")
        failures = [((s.name, s.failure.code), 1) for s in upstreams if s.failure is not None]
        text = "1 while the last pull failed with this code."
        yield _gauge("upstream_failure", text, failures, "upstream", "code")
        pulls = CounterMetricFamily(
            "threatcloud_pulls", "Pulls that ended, since the start.", labels=["upstream", "outcome"]
        )
        for labels, count in sorted(self.pulls.items()):
            pulls.add_metric(labels, count)
        yield pulls

    def _instance(self) -> Iterator[Metric]:
        wal = self.database.with_name(f"{self.database.name}-wal")
        yield _gauge("database_bytes", "Size of the database file.", [((), _size(self.database))])
        yield _gauge("wal_bytes", "Size of the database's write-ahead log.", [((), _size(wal))])
        text = "Resident memory of the serving process."
        yield _gauge("process_resident_bytes", text, [((), _resident_bytes())])

    def _backups(self) -> Iterator[Metric]:
        verified, failed = self.backups.verified, self.backups.failed
        if verified is not None:
            name, text = "backup_last_verified_timestamp_seconds", "When the last verified backup was begun."
            yield _gauge(name, text, [((), from_text(verified.at).timestamp())])
            yield _gauge("backup_last_bytes", "Size of that backup.", [((), verified.bytes)])
        if failed is not None:
            name, text = (
                "backup_last_failure_timestamp_seconds",
                "When the last backup that failed was begun.",
            )
            yield _gauge(name, text, [((), from_text(failed.at).timestamp())])


def _is_up(status: UpstreamStatus) -> float:
    return float(status.failure is None and status.last_success is not None)


_OF_EACH_UPSTREAM: Mapping[str, tuple[str, Callable[[UpstreamStatus], float | None]]] = {
    "up": ("1 when the last pull succeeded, 0 when it failed or there was none.", _is_up),
    "last_success_timestamp_seconds": (
        "When a pull succeeded last.",
        lambda s: from_text(s.last_success).timestamp() if s.last_success else None,
    ),
    "stale_seconds": ("Seconds since a pull succeeded last.", lambda s: s.stale_seconds),
    "stale_after_seconds": ("Seconds without a success that make it stale.", lambda s: s.stale_after),
    "held_changes": ("Changes that wait for an admin.", lambda s: s.held),
    "refused_changes": ("Changes that an admin has refused.", lambda s: s.refused),
    "set_aside_rules": ("Offered rules that are not taken.", lambda s: s.set_aside),
    "excluded_rules": ("Rules that a filter keeps out.", lambda s: s.excluded),
    "pull_seconds": ("How long the last pull took.", lambda s: s.pull_seconds),
    "failures": (
        "Pulls that failed since the last success.",
        lambda s: s.failure.failures if s.failure else 0,
    ),
}
"""Suffix of the name, help, and the value; None where there is none yet."""


def _gauge(name: str, text: str, samples: Samples, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"threatcloud_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _by(counts: Counts) -> Samples:
    return [((label,), count) for label, count in counts]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE_BYTES

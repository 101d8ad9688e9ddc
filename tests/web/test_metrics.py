"""`/metrics`: what Prometheus reads, held against what the API says, and who may read it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from app import __version__
from tests.example_rules import rule_text
from tests.server import Server
from tests.web.answers import accepted, eventually, refused
from tests.web.conftest import UNLIMITED

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
RULES = ("ATR-2026-94001", "ATR-2026-94002", "ATR-2026-94003")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upstream's folder: three rules, and one text that is none."""
    folder = tmp_path_factory.mktemp("upstream")
    for rule_id in RULES:
        (folder / f"{rule_id}.yaml").write_text(rule_text(rule_id))
    (folder / "broken.yaml").write_text("title: [")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance with two upstreams, one of them not there."""
    config = "\n".join(
        f'[[upstream]]\nname = "{name}"\nkind = "directory"\npath = {json.dumps(str(path))}\ninterval = 86400'
        for name, path in (("good", folder), ("gone", folder / "nowhere"))
    )
    with Server(tmp_path_factory.mktemp("instance"), config=config, **UNLIMITED) as running:
        for name, outcome in (("good", "changed"), ("gone", "failed")):
            eventually(lambda o=(name, outcome): pulls(running, *o) == 1)  # type: ignore[misc]
        yield running


def scrape(server: Server, **headers: str) -> Series:
    with httpx.Client() as nobody:
        answer = nobody.get(f"{server.url}/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    families = parser.text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    series = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(series) == len(samples), "a series twice"
    return series


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((f"threatcloud_{name}", frozenset(labels.items())))


def pulls(server: Server, upstream: str, outcome: str) -> float | None:
    return value(scrape(server), "pulls_total", upstream=upstream, outcome=outcome)


def test_it_says_what_the_api_says(server: Server) -> None:
    with server.admin as admin:
        status = {s["name"]: s for s in accepted(admin.get("/api/admin/upstreams"))}
        publication = accepted(admin.get("/api/publications/current"))
        keys = accepted(admin.get("/api/admin/keys"))
    found = scrape(server)
    assert value(found, "build_info", version=__version__) == 1
    assert value(found, "publication_serial") == publication["serial"]
    assert value(found, "served_rules", source="atr") == publication["total"] == len(RULES)
    assert value(found, "rules", origin="upstream:good", state="active") == len(RULES)
    assert value(found, "keys", role="admin") == len(keys)
    for name, code in (("good", None), ("gone", "not-found")):
        assert value(found, "upstream_up", upstream=name) == (code is None)
        assert value(found, "upstream_set_aside_rules", upstream=name) == status[name]["setAside"]
        assert value(found, "upstream_held_changes", upstream=name) == 0
        assert value(found, "upstream_stale_after_seconds", upstream=name) == status[name]["staleAfter"]
        assert value(found, "upstream_pull_seconds", upstream=name) == status[name]["pullSeconds"]
        assert value(found, "upstream_failures", upstream=name) == (0 if code is None else 1)
        shown = {dict(labels)["code"] for (n, labels), _ in found.items() if _is_failure(n, labels, name)}
        assert shown == (set() if code is None else {code})
    stale = value(found, "upstream_stale_seconds", upstream="good")
    assert stale is not None and 0 <= stale < 60
    assert value(found, "upstream_stale_seconds", upstream="gone") is None
    for name in ("database_bytes", "process_resident_bytes"):
        assert (value(found, name) or 0) > 100_000
    assert (value(found, "process_resident_bytes") or 0) < 1_000_000_000


def _is_failure(name: str, labels: frozenset[tuple[str, str]], upstream: str) -> bool:
    return name == "threatcloud_upstream_failure" and ("upstream", upstream) in labels


def test_a_change_that_is_held_or_kept_out_is_counted(server: Server, folder: Path) -> None:
    """Two of three rules go: that is held, and the next scrape says so."""
    kept = {rule_id: (folder / f"{rule_id}.yaml").read_text() for rule_id in RULES[:2]}
    for rule_id in kept:
        (folder / f"{rule_id}.yaml").unlink()
    server.cli("upstream", "pull", "good")
    found = scrape(server)
    assert value(found, "upstream_held_changes", upstream="good") == 2
    assert value(found, "pulls_total", upstream="good", outcome="held") == 1
    assert value(found, "upstream_up", upstream="good") == 1
    server.cli("upstream", "reject", "good", "--reason", "an accident")
    found = scrape(server)
    assert value(found, "upstream_held_changes", upstream="good") == 0
    assert value(found, "upstream_refused_changes", upstream="good") == 2
    for rule_id, text in kept.items():
        (folder / f"{rule_id}.yaml").write_text(text)
    server.cli("upstream", "pull", "good")


def test_openmetrics_is_there_for_who_accepts_it(server: Server) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    answer = httpx.get(f"{server.url}/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    names = {f.name for f in openmetrics_parser.text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call]
    assert {"threatcloud_build", "threatcloud_pulls", "threatcloud_upstream_up"} <= names


def test_labels_are_those_of_the_configuration(server: Server) -> None:
    """So a scrape never grows with what clients or upstreams send."""
    found = scrape(server)
    values = {value for (_, labels) in found for label, value in labels if label in {"origin", "upstream"}}
    assert values <= {"good", "gone", "upstream:good", "upstream:gone", "local", "community"}
    assert len(found) < 100


def test_a_key_must_be_of_a_reviewer_or_an_admin(server: Server) -> None:
    for role, status in (("reviewer", 200), ("admin", 200), ("agent", 403), ("partner", 403)):
        with server.client(server.issue(role)) as client:
            assert client.get("/metrics").status_code == status, role
    with server.client("nonsense") as client:
        refused(client.get("/metrics"), 401)


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"}]
)
def test_what_an_unknown_proxy_passes_on_needs_a_key(headers: dict[str, str], server: Server) -> None:
    """Else a proxy on this machine would open it to everybody."""
    assert httpx.get(f"{server.url}/metrics").status_code == 200
    assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 401


def test_the_networks_are_a_matter_of_configuration(tmp_path: Path) -> None:
    options = {"access_metrics_networks": "192.0.2.0/24", "access_trusted_proxies": "127.0.0.1"}
    with Server(tmp_path, **options) as server, server.client() as client:
        for forwarded, status in (
            (None, 401),
            ("192.0.2.7", 200),
            ("198.51.100.7", 401),
            ("192.0.2.7, x", 401),
        ):
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            assert client.get("/metrics", headers=headers).status_code == status, forwarded
        server.kill()

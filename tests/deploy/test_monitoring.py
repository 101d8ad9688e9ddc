"""What Prometheus and Grafana are told to look for is what `/metrics` has."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.needs import need_program
from tests.server import REPOSITORY, Server

SHIPPED = REPOSITORY / "deploy" / "monitoring"
ALERTS = SHIPPED / "alerts.yml"
CASES = Path(__file__).with_name("alert_cases.yml")
NAME = re.compile(r"\bthreatcloud_[a-z_]+\b(?=[^a-z_:]|$)")


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SHIPPED / "grafana-dashboard.json").read_text())["panels"]
    return found


def expressions() -> dict[str, str]:
    """Every expression in PromQL, by where it stands."""
    found = {rule["alert"]: rule["expr"] for rule in alerts()}
    for panel in panels():
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    dashboard = json.loads((SHIPPED / "grafana-dashboard.json").read_text())
    found["variable"] = dashboard["templating"]["list"][1]["query"]
    found["annotation"] = dashboard["annotations"]["list"][0]["expr"]
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all families of an instance that has an upstream, a backup, and one that failed."""
    folder = tmp_path_factory.mktemp("instance")
    config = f'[[upstream]]\nname = "gone"\nkind = "directory"\npath = "{folder}/nowhere"\n'
    with Server(folder, config=config) as server:
        server.cli("backup", "create")
        (folder / "file").touch()
        assert (
            server.cli("backup", "create", "--output", str(folder / "file" / "x"), check=False).returncode
            == 1
        )
        text = httpx.get(f"{server.url}/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return set(types)


def test_every_name_is_one_that_a_scrape_has(scraped: set[str]) -> None:
    for place, expression in expressions().items():
        names = set(NAME.findall(expression))
        assert names or "up{" in expression, f"{place}: {expression}"
        assert names <= scraped, f"{place}: {names - scraped} is not in /metrics"


def test_everything_that_can_be_scraped_is_shown(scraped: set[str]) -> None:
    """A family that nobody looks at should not be there, or should be on the dashboard."""
    used = {name for expression in expressions().values() for name in NAME.findall(expression)}
    assert scraped - used <= UNUSED


UNUSED = {
    "threatcloud_backup_last_bytes",
    "threatcloud_upstream_excluded_rules",
    "threatcloud_upstream_failure",
    "threatcloud_upstream_last_success_timestamp_seconds",
    "threatcloud_upstream_refused_changes",
}
"""Worth having when one looks for something, not worth a place on the wall."""


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert "$labels." in rule["annotations"]["summary"], rule["alert"]


def test_the_dashboard_asks_for_its_data_source_and_nothing_overlaps() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def promtool(*words: str) -> str:
    done = subprocess.run([need_program("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_alerts_and_the_scrape() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("check", "config", "--syntax-only", str(SHIPPED / "prometheus-scrape.yml"))


def test_the_alerts_fire_for_whom_they_should(tmp_path: Path) -> None:
    rules = yaml.safe_load(ALERTS.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # their texts are not what is tested here
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "cases.yml").write_text(CASES.read_text())
    promtool("test", "rules", str(tmp_path / "cases.yml"))

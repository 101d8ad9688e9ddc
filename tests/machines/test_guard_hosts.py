"""Two hosts with a Guard, Debian 12 and 13, enrolled by the playbook: each syncs in the way that its version needs.

The stock Guard 1.4.5 (its own package, its own daemon) calls the server directly; a program with the newest Guard's
rules, which refuses private addresses, goes through the relay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from app.fleet import host_config
from tests.flows.fleet import eventually
from tests.machines.guard_hosts import UNIT, answers, as_user, files, log, newest_guard, stock_guard
from tests.machines.installation import VARIABLES, Installation
from tests.machines.testbed import Machine, Recap, Testbed
from tests.machines.testbed.testbed import REPOSITORY
from tests.machines.visitor import HOSTNAME

ROLE = REPOSITORY / "ansible" / "roles" / "threatcloud_guard"
VERSIONS = {"stock": "1.4.5", "newest": "1.9.0"}
USERS = {"stock": "root", "newest": "guard"}


@dataclass(frozen=True, slots=True)
class Fleet:
    """A server and its two hosts with a Guard."""

    server: Installation
    stock: Machine
    newest: Machine

    def playbook(self, *hosts: Machine, check: bool = False, **variables: Any) -> Recap:
        """Run the playbook for these hosts, or for both."""
        inventory = {"threatcloud": [self.server.machine], "guards": hosts or [self.stock, self.newest]}
        described = {
            "threatcloud_guard_version": f"{{{{ {VERSIONS}[inventory_hostname] }}}}",
            "threatcloud_guard_user": f"{{{{ {USERS}[inventory_hostname] }}}}",
        }
        given: dict[str, Any] = {"release": self.server.release, **VARIABLES, **described, **variables}
        return self.server.testbed.playbook("enrol_guards", inventory, check=check, **given)

    def keys(self, host: Machine) -> list[str]:
        """Return the ids of the host's keys that are not revoked."""
        listed = self.server.cli_json("key", "list", "--subject", host.name)
        return [key["id"] for key in listed if key["revokedAt"] is None]

    def served(self) -> int:
        """Return how many rules an agent is served."""
        visitor = self.server.visitor(self.server.issue("agent", "somebody-else"))
        return len(visitor.get("/api/atr-rules").data)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The fleet, the files of its hosts before, and the recaps of the runs that enrolled them."""

    fleet: Fleet
    before: tuple[set[str], set[str]]
    after_check: tuple[set[str], set[str]]
    keys_after_check: list[str]
    check: Recap
    recap: Recap


def both(fleet: Fleet) -> tuple[set[str], set[str]]:
    return files(fleet.stock), files(fleet.newest)


@pytest.fixture(scope="module")
def enrolled(testbed: Testbed, server: Callable[[str, str], Installation]) -> Iterator[Enrolled]:
    """Enrol the hosts: a check run, then a first run."""
    installation = server("guardserver", "bookworm")
    stock = stock_guard(testbed, "stock", "bookworm", installation.machine)
    newest = newest_guard(testbed, "newest", "trixie", installation.machine)
    fleet = Fleet(installation, stock, newest)
    try:
        before = both(fleet)
        check = fleet.playbook(check=True)
        after_check, keys = both(fleet), fleet.keys(stock) + fleet.keys(newest)
        recap = fleet.playbook()
        yield Enrolled(fleet, before, after_check, keys, check, recap)
    finally:
        stock.destroy()
        newest.destroy()


def test_a_check_run_on_new_hosts_goes_through_and_changes_nothing(enrolled: Enrolled) -> None:
    assert enrolled.check.clean, enrolled.check.output
    assert enrolled.check.changed > 0, "it says what it would do"
    assert enrolled.after_check == enrolled.before
    assert enrolled.keys_after_check == []


def cycles(host: Machine, served: int) -> int:
    """Return how often the stock Guard has logged so many rules from the server since its service was started."""
    return log(host).count(f"Threat Cloud sync: {served} ATR, ")


def test_the_stock_guard_loads_the_rules_from_the_server_itself(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    assert enrolled.recap.clean, enrolled.recap.output
    served = fleet.served()
    assert served > 0
    eventually(lambda: cycles(fleet.stock, served) > 0, "a cycle of the stock Guard")
    assert f"ATR cloud sync: {served} rules updated" in log(fleet.stock)
    settings = fleet.stock.get("/root/.panguard-guard/config.json")
    assert f'"threatCloudEndpoint": "https://{HOSTNAME}"' in settings
    assert '"mode": "learning"' in settings, "what was there stays"
    assert fleet.stock.run("stat -c '%U %a' /root/.panguard-guard/config.json").text == "root 600"
    assert "threatcloud-relay" not in fleet.stock.run("ls /etc/systemd/system").out


def test_the_newest_guard_loads_the_rules_through_the_relay(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    rules, listed = answers(fleet.newest)  # the playbook started it anew, with consent, CA and rule key
    assert (rules.get("status"), listed.get("status")) == (200, 200), (rules, listed)
    assert rules["rules"] == rules["verified"] == fleet.served() > 0
    listening = fleet.newest.run("ss --no-header --listening --numeric --tcp 'sport = :8443'").out
    assert {line.split()[3] for line in listening.splitlines()} == {"127.0.0.1:8443", "[::1]:8443"}
    modes = fleet.newest.run(
        "stat -c '%U %a' /home/guard/.panguard-guard/config.json /etc/threatcloud-guard/relay.key"
    )
    assert modes.out.split("\n")[:2] == ["guard 600", "threatcloud-relay 400"]


def test_the_server_knows_each_host_by_a_key_of_its_own(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    agents = {agent["subject"]: agent for agent in fleet.server.cli_json("fleet", "list")}
    assert {agents[host.name]["standing"] for host in (fleet.stock, fleet.newest)} == {"current"}
    assert len(fleet.keys(fleet.stock)) == len(fleet.keys(fleet.newest)) == 1
    for token in tokens(fleet):
        assert token not in enrolled.check.output + enrolled.recap.output


def tokens(fleet: Fleet) -> list[str]:
    settings = (
        fleet.stock.get("/root/.panguard-guard/config.json"),
        fleet.newest.get("/home/guard/.panguard-guard/config.json"),
    )
    return [yaml.safe_load(text)["threatCloudApiKey"] for text in settings]


def test_a_second_run_changes_nothing_and_a_check_run_says_so(enrolled: Enrolled) -> None:
    fleet, keys = enrolled.fleet, tokens(enrolled.fleet)
    pid = fleet.stock.run(f"systemctl show --property MainPID {UNIT}").text
    for check in (False, True):
        recap = fleet.playbook(check=check)
        assert recap.clean, recap.output
        assert recap.changed == 0, recap.output
    assert tokens(fleet) == keys
    assert fleet.stock.run(f"systemctl show --property MainPID {UNIT}").text == pid, "nobody restarted it"


def test_revoking_one_stops_it_and_not_the_other(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    (key,) = fleet.keys(fleet.newest)
    fleet.server.cli("key", "revoke", key)
    as_user(fleet.newest, f"systemctl --user restart {UNIT}")
    assert [answer.get("status") for answer in answers(fleet.newest)] == [401, 401]
    served = fleet.served()
    before = cycles(fleet.stock, served)
    eventually(lambda: cycles(fleet.stock, served) > before + 1, "two more cycles of the other one")


def test_the_next_run_heals_a_host_and_finishes_what_was_cut_short(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    stock_token, old_token = tokens(fleet)
    fleet.server.cli("key", "revoke", *fleet.keys(fleet.newest), check=False)
    fleet.stock.run(
        "touch /etc/threatcloud-guard/unfinished"
    )  # what is left when a host goes away in the middle
    pid = fleet.stock.run(f"systemctl show --property MainPID {UNIT}").text
    recap = fleet.playbook()
    assert recap.clean, recap.output
    assert [answer.get("status") for answer in answers(fleet.newest)] == [200, 200]
    assert tokens(fleet)[0] == stock_token
    assert tokens(fleet)[1] != old_token
    assert fleet.stock.run(f"systemctl show --property MainPID {UNIT}").text != pid
    assert fleet.stock.run("ls /etc/threatcloud-guard").out.split() == ["before.json", "ca.pem"]


def test_taking_the_hosts_out_leaves_them_as_they_were_and_revokes_their_keys(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    stock_token, _ = tokens(fleet)
    recap = fleet.playbook(threatcloud_guard_state="absent")
    assert recap.clean, recap.output
    for before, after in zip(enrolled.before, both(fleet), strict=True):
        assert after - before == before - after == set()
    assert fleet.keys(fleet.stock) == fleet.keys(fleet.newest) == []
    assert fleet.server.visitor(stock_token).get("/api/atr-rules").status == 401
    assert answers(fleet.newest) == [{"error": "no consent"}] * 2, "started anew, with what its owner chose"
    assert fleet.newest.run("systemctl is-active threatcloud-relay", check=False).text == "inactive"


def test_the_key_of_a_lost_host_is_revoked_without_it(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    fleet.server.issue("agent", fleet.newest.name)
    fleet.newest.stop()
    try:
        recap = fleet.playbook(fleet.newest, threatcloud_guard_state="absent")
    finally:
        fleet.newest.start()
    assert recap.failed == 1, "the host itself could not be reached"
    assert fleet.keys(fleet.newest) == []


def test_wrong_variables_are_reported_in_a_sentence_each_before_anything_is_done(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    wrong = {
        "threatcloud_guard_version": ("", "say which Guard is on the host, such as 1.9.0"),
        "threatcloud_guard_user": ("", "say which user of the host runs the Guard"),
        "threatcloud_guard_server": ("elsewhere", "elsewhere is not in the inventory"),
        "threatcloud_guard_data_dir": ("guard", "guard is no absolute path"),
        "threatcloud_guard_ca_file": ("/none.pem", "the control node has no file /none.pem"),
        "threatcloud_guard_relay_key": ("/none.key", "give both, or neither"),
        "threatcloud_guard_verison": ("1.9.0", "no variable of this role"),
    }
    variables: dict[str, Any] = {name: value for name, (value, _) in wrong.items()}
    recap = fleet.playbook(fleet.stock, **variables)
    assert (recap.failed, recap.changed) == (1, 0)
    output = " ".join(recap.output.split())
    for name, (_, sentence) in wrong.items():
        assert name in output
        assert sentence in output, recap.output


def test_a_url_that_cannot_work_is_refused_with_the_servers_reason(enrolled: Enrolled) -> None:
    fleet = enrolled.fleet
    recap = fleet.playbook(fleet.stock, threatcloud_guard_url=f"https://{HOSTNAME}/api")
    assert (recap.failed, recap.changed) == (1, 0)
    assert "a Guard adds the path by itself" in " ".join(recap.output.split())
    assert fleet.keys(fleet.stock) == []


def read(part: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROLE / part / "main.yml").read_text())
    return values


def test_the_role_uses_the_names_of_the_product() -> None:
    names = read("vars")
    assert names["_threatcloud_guard_folder"] == host_config.FOLDER
    assert names["_threatcloud_guard_unit"] == host_config.UNIT
    assert names["_threatcloud_guard_relay_port"] == host_config.RELAY_PORT
    chosen = host_config.plan(
        "1.9.0", f"https://{HOSTNAME}", read("defaults")["threatcloud_guard_relay_name"]
    )
    written = {file.name: file for file in host_config.host_files(chosen, "key", "token")}
    unit = written[names["_threatcloud_guard_relay_unit"]]
    assert f"User={names['_threatcloud_guard_relay_user']}\n" in unit.text
    assert set(names["_threatcloud_guard_setting_names"]) == set(yaml.safe_load(written["config.json"].text))
    for version in ("1.6.1", "1.7.0"):
        plan = host_config.plan(version, f"https://{HOSTNAME}", "threatcloud-relay.internal")
        dropin = names["_threatcloud_guard_dropins"][plan.row.unit].replace(
            "{{ _threatcloud_guard_unit }}", host_config.UNIT
        )
        assert dropin in {file.place for file in host_config.host_files(plan, "key", None)}


def test_every_variable_of_the_role_has_a_default_and_an_explanation() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    assert set(options) == set(read("defaults"))
    assert all(option["description"] for option in options.values())

"""Machines with a Guard: the stock daemon as its own installer leaves it, and a stand-in for the newest one."""

import json
from pathlib import Path
from typing import Any

from tests.clients.packages import client_packages, need_node
from tests.machines.testbed import Machine, Testbed
from tests.machines.visitor import HOSTNAME

UNIT = "com.panguard.panguard-guard.service"
DRIVERS = Path(__file__).parents[1] / "clients"

STOCK_UNIT = """[Unit]
Description=Panguard Guard
After=network.target

[Service]
Type=simple
ExecStart=/usr/local/bin/node /srv/drivers/guard_daemon.mjs /root/.panguard-guard
Restart=always
RestartSec=1
Environment=HOME=/root CLIENT_PACKAGES=/srv/clients/node_modules NO_COLOR=1 GUARD_CYCLE_MS=5000

[Install]
WantedBy=multi-user.target
"""
"""As `panguard-guard install` of 1.4.5 writes it, around the driver that shortens its hour to five seconds."""

NEWEST_UNIT = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/node /srv/drivers/newest_guard.cjs
StandardInput=file:/home/guard/calls.json
StandardOutput=truncate:/home/guard/answers.json
"""
"""A unit of the user, as from 1.7.0 on, which pulls the rules at each start as they do."""

CALLS = {
    "config": "/home/guard/.panguard-guard/config.json",
    "calls": [
        {"method": "GET", "path": "/api/atr-rules?since=1970-01-01T00:00:00.000Z"},
        {"method": "GET", "path": "/api/skill-blacklist"},
    ],
}

STOCK_SETTINGS = """{"lang":"en","mode":"learning","dashboardEnabled":false,"watchdogEnabled":false,
"dataDir":"/root/.panguard-guard"}"""
NEWEST_SETTINGS = """{
  "mode": "learning",
  "threatCloudEndpoint": "https://tc.panguard.ai",
  "threatCloudUploadEnabled": false
}"""
"""What the hosts' owners chose before; neither is written as our own JSON is."""


def stock_guard(testbed: Testbed, name: str, suite: str, server: Machine) -> Machine:
    """Start a host where the stock Guard 1.4.5 runs as a system service, for root."""
    host = _host(testbed, name, suite, server)
    host.put(STOCK_SETTINGS.encode(), "/root/.panguard-guard/config.json")
    host.put(STOCK_UNIT.encode(), f"/etc/systemd/system/{UNIT}")
    host.run(f"systemctl daemon-reload && systemctl enable --now {UNIT}")
    return host


def newest_guard(testbed: Testbed, name: str, suite: str, server: Machine) -> Machine:
    """Start a host whose user `guard` has a service with the newest Guard's rules and no consent to call anybody."""
    host = _host(testbed, name, suite, server)
    host.run("useradd --create-home guard")
    host.put(NEWEST_SETTINGS.encode(), "/home/guard/.panguard-guard/config.json", mode="0640")
    host.put(NEWEST_UNIT.encode(), f"/home/guard/.config/systemd/user/{UNIT}")
    host.put(json.dumps(CALLS).encode(), "/home/guard/calls.json")
    # On a host with libpam-systemd, which these images lack, that variable is there.
    runtime = b"[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
    host.put(runtime, "/etc/systemd/system/user@.service.d/runtime.conf")
    host.run("chown -R guard: /home/guard && systemctl daemon-reload && loginctl enable-linger guard")
    host.run("systemctl start user@$(id -u guard)")
    as_user(host, f"systemctl --user start {UNIT}")
    return host


def _host(testbed: Testbed, name: str, suite: str, server: Machine) -> Machine:
    binds = {
        client_packages(): "/srv/clients/node_modules",
        DRIVERS: "/srv/drivers",
        Path(need_node()).resolve(): "/usr/local/bin/node",
    }
    host = testbed.machine(name, suite, binds=binds)
    host.run(f"echo {server.address} {HOSTNAME} >> /etc/hosts")  # stands for DNS
    return host


def as_user(host: Machine, command: str) -> None:
    """Run a command as the user `guard`, who can reach its own services."""
    host.run(f"runuser -u guard -- env XDG_RUNTIME_DIR=/run/user/$(id -u guard) {command}")


def log(host: Machine) -> str:
    """Return the log of the stock Guard since its service was last started."""
    invocation = host.run(f"systemctl show --value --property InvocationID {UNIT}").text
    return host.run(f"journalctl --no-pager --output cat _SYSTEMD_INVOCATION_ID={invocation}").out


def answers(host: Machine) -> list[dict[str, Any]]:
    """Return the answers that the newest Guard got at its last start, call by call."""
    got: list[dict[str, Any]] = json.loads(host.get("/home/guard/answers.json"))
    return got


GUARDS_OWN = ("baseline.json", "panguard-guard.pid")
LEFT_OUT = (
    *("root/.ansible", "root/.panguard", *(f"root/.panguard-guard/{n}" for n in GUARDS_OWN)),
    *("var/lib/systemd", "var/lib/nginx", "var/lib/private"),
    *(f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
)
"""Files that programs write by themselves: Ansible, systemd, nginx, the Guard, and the copies that useradd keeps."""


def files(host: Machine) -> set[str]:
    """Return mode, owner, target and digest of every file in the folders where a playbook may leave one."""
    pruned = " -o ".join(f"-path {path}" for path in LEFT_OUT)
    print_each = r"-printf '%M %u:%g %p %l ' \( -type f -exec sha256sum {} \; -o -printf '\n' \)"
    found = host.run(
        f"cd / && find etc home root opt srv usr/local var/lib -xdev \\( {pruned} \\) -prune -o {print_each}"
    )
    return set(found.out.splitlines())

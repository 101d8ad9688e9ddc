"""The configuration of a host with a stock Guard: how it reaches this instance, and the files, word for word."""

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Literal
from urllib.parse import urlsplit

from app.fleet.guards import GuardVersions, Place, place_of, row_of

RELAY_PORT = 8443
FOLDER = "/etc/threatcloud-guard"
"""On the host: the CA, and for the relay its configuration, certificates and keys."""
UNIT = "com.panguard.panguard-guard.service"
"""What `panguard-guard install` calls its unit, 1.4.5 and 1.9.0 alike."""
RELAY_FILES = {"http": "nginx.conf", "stream": "nginx-stream.conf"}
"""The name of each form of relay configuration, in `host_files` and in what is handed out."""


RelayForm = Literal["http", "stream"]
"""Which nginx a relay is: one that ends the Guard's TLS and speaks http, or one that hands on bytes."""


@dataclass(frozen=True, slots=True)
class HostFile:
    """One file: `name` below an output folder, `place` on the host, and whether it holds a key."""

    name: str
    place: str
    text: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class HostPlan:
    """How one version reaches one URL; `notes` are sentences for the admin, `ipv6` whether the host has it."""

    version: str
    row: GuardVersions
    url: str
    place: Place
    way: Literal["direct", "relay"]
    relay_name: str
    relay_form: RelayForm
    ipv6: bool
    notes: tuple[str, ...]

    @property
    def endpoint(self) -> str:
        """The `threatCloudEndpoint` of the Guard; without a trailing slash, since a Guard only appends to it."""
        return self.url if self.way == "direct" else f"https://{self.relay_name}:{RELAY_PORT}"


def plan(
    version: str, url: str, relay_name: str, relay_form: RelayForm = "http", *, ipv6: bool = True
) -> HostPlan:
    """Choose between direct access and a relay.

    Raises `ValueError` with a sentence for a URL or name that cannot work.
    """
    place = place_of(url)
    if relay_name == "localhost" or not re.fullmatch(
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9-]+)+", relay_name
    ):
        raise ValueError(f"{relay_name!r}: a relay needs a name with a dot, in small letters")
    if re.fullmatch(r"[0-9.]+|metadata\..*", relay_name):
        raise ValueError(f"{relay_name!r}: Guards refuse addresses and metadata names")
    if relay_name == urlsplit(url).hostname:
        raise ValueError(
            f"{relay_name!r} is the server: the relay could not reach it by a name that means the host"
        )
    row, doubt = row_of(version)
    way: Literal["direct", "relay"] = "direct" if place in row.accepts else "relay"
    parts = urlsplit(url)
    if way == "relay" and relay_form == "stream" and parts.scheme != "https":
        raise ValueError(f"{url!r}: a relay that hands on bytes needs a server that speaks TLS")
    notes = [doubt] if doubt else []
    return HostPlan(
        version,
        row,
        f"{parts.scheme}://{parts.netloc}",
        place,
        way,
        relay_name,
        relay_form,
        ipv6,
        (*notes, *_notes(row, place, way)),
    )


def _notes(row: GuardVersions, place: Place, way: str) -> list[str]:
    notes = []
    if place is Place.HTTPS_PRIVATE_NAME and way == "relay":
        notes.append(
            "The name is taken to have a private address; if all its addresses are outside the list that Guards "
            "refuse (docs/fleet.md), they can use the URL directly."
        )
    if place is Place.HTTPS_PRIVATE_ADDRESS and way == "relay":
        notes.append("The relay's nginx compares names, not addresses: give the server's name in the URL.")
    if place is Place.HTTP:
        notes.append("The URL is http: keys cross the network readable. Put TLS in front of the server.")
    if row.registers == "never":
        notes.append("This version never enrols itself: it needs a key in its configuration.")
    elif (
        row.registers != "anywhere"
        and way == "direct"
        and place in {Place.HTTP_LOOPBACK, Place.HTTPS_PRIVATE_ADDRESS}
    ):
        notes.append("This version does not enrol itself at such a URL: it needs a key in its configuration.")
    if row.consent != "nothing":
        what = "reports nothing" if row.consent == "uploads" else "makes no call at all, not even for lists"
        notes.append(f"Without `threatCloudUploadEnabled: true` this version {what}.")
    if row.sealed:
        notes.append(
            "Its threat events are encrypted to its maker's key: they are counted here and cannot be read here."
        )
    if row.signed:
        notes.append("It fetches rules once per start: restart it to bring new rules in.")
    if row.notices_edits:
        notes.append(
            "Edited after its first start, the configuration is reported as `INTEGRITY: TAMPERED` until "
            "`panguard-guard config --set threatCloudUploadEnabled=true` seals it again."
        )
    return notes


def host_files(chosen: HostPlan, rule_key: str, key: str | None) -> tuple[HostFile, ...]:
    """Return the files for a plan: `rule_key` is the instance's rule key (PEM), `key` the agent's own, if any."""
    files = [
        HostFile(
            "config.json", "<data folder of the Guard>/config.json", _config(chosen, key), key is not None
        )
    ]
    if dropin := _dropin(chosen, rule_key):
        name = f"{UNIT}.d/threatcloud.conf"
        files.append(HostFile(name, f"/etc/systemd/{chosen.row.unit}/{name}", dropin))
    if chosen.way == "relay":
        unit = _template("threatcloud-relay.service", folder=FOLDER)
        files += [
            HostFile("hosts", "a line of /etc/hosts", f"127.0.0.1 {chosen.relay_name}\n"),
            HostFile(
                RELAY_FILES[chosen.relay_form],
                f"{FOLDER}/nginx.conf",
                relay_configuration(chosen.url, chosen.relay_name, form=chosen.relay_form, ipv6=chosen.ipv6),
            ),
            HostFile("threatcloud-relay.service", "/etc/systemd/system/threatcloud-relay.service", unit),
        ]
    return tuple(files)


def relay_configuration(
    url: str,
    relay_name: str,
    folder: str = FOLDER,
    run: str = "/run/threatcloud-relay",
    port: int = RELAY_PORT,
    form: RelayForm = "http",
    *,
    ipv6: bool = True,
) -> str:
    """Return the nginx configuration of a relay to `url`; other folders and ports are for trying it out."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    tls = _template("upstream-tls.conf", folder=folder, server_name=str(parts.hostname))
    text = _template(
        RELAY_FILES[form],
        relay_name=relay_name,
        port=str(port),
        folder=folder,
        scheme=parts.scheme,
        host=host if parts.port is None else f"{host}:{parts.port}",
        server=f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}",
        upstream_tls=tls if parts.scheme == "https" else "",
    )
    lines = [line for line in text.splitlines(keepends=True) if ipv6 or "listen [::1]" not in line]
    return "".join(lines).replace("/run/threatcloud-relay", run)


def _config(chosen: HostPlan, key: str | None) -> str:
    members: dict[str, object] = {"threatCloudEndpoint": chosen.endpoint}
    if key is not None:
        members["threatCloudApiKey"] = key
    members |= {"threatCloudUploadEnabled": True, "threatCloudRuleSyncEnabled": True}
    return json.dumps(members, indent=2) + "\n"


def _dropin(chosen: HostPlan, rule_key: str) -> str:
    """Return the drop-in with the environment that the Guard's own unit lacks; empty when none is needed."""
    lines = []
    if chosen.endpoint.startswith("https:"):
        lines += ["# The CA of the certificate that the Guard is shown; Node knows public CAs only.",
                  f"Environment=NODE_EXTRA_CA_CERTS={FOLDER}/ca.pem"]  # fmt: skip
    if chosen.row.signed:
        lines += ["# The key that this instance signs rules with. systemd makes line ends of \\n within the quotes.",
                  f'Environment="PANGUARD_RULE_PUBKEY={_one_line(rule_key)}"']  # fmt: skip
    return "\n".join(["[Service]", *lines, ""]) if lines else ""


def _one_line(pem: str) -> str:
    """Return a PEM as systemd reads it within quotes: C escapes, `%` doubled (systemd.syntax, systemd.unit)."""
    return pem.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")


def _template(name: str, **values: str) -> str:
    text = (resources.files("app.fleet") / "host_files" / name).read_text(encoding="utf-8")
    for marker, value in values.items():
        text = text.replace(f"@{marker}@", value)
    return text

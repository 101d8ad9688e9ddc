"""The `[[upstream]]` entries of the configuration: one type for each kind of place that rules come from."""

import hashlib
import re
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

Policy = Literal["mirror", "additive", "review"]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
Seconds = Annotated[int, Meta(ge=10, le=30 * 86_400)]
Percent = Annotated[int, Meta(ge=0, le=100)]
_KEY = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|credential:[A-Za-z0-9._-]+")
Words = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=1000)]


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Matches rules; a field that is left out matches every rule, several values match any of them."""

    category: Words = ()
    """`tags.category` of the rule."""
    severity: Words = ()
    """`severity` of the rule."""
    status: Words = ()
    """`status` of the rule: experimental, stable, draft or deprecated."""
    maturity: Words = ()
    """`maturity` of the rule, which is another field than its status."""
    id: Words = ()
    """The rule's id; `*` and `?` match as in a shell: `ATR-2026-00*`."""


class UpstreamBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind has."""

    interval_default: ClassVar[int] = 3600

    name: Name
    """Its name; rules from here have the origin `upstream:<name>`."""
    policy: Policy = "mirror"
    """`mirror`: what upstream dropped is withdrawn; `additive`: nothing is withdrawn; `review`: every change is
    held until an admin approves it."""
    priority: Annotated[int, Meta(ge=0, le=1000)] = 100
    """Which upstream keeps an id that two of them offer: the one with the higher number."""
    interval: Seconds | None = None
    """Seconds between two pulls; left out, 300 for `live`, 60 for `directory` and `bundle`, else 3600."""
    include: Filter = Filter()
    """Only rules that match this are taken: `include = { severity = ["high", "critical"] }`."""
    exclude: Filter | None = None
    """Rules that match this are not taken, also when `include` matches them."""
    max_withdrawn_percent: Percent = 10
    """A pull that would withdraw a larger share of the rules from here is held until an admin approves it."""
    max_changed_percent: Percent = 30
    """A pull that would change a larger share of the rules from here is held until an admin approves it."""

    @property
    def origin(self) -> str:
        """The origin of its rules."""
        return f"upstream:{self.name}"

    @property
    def kind(self) -> str:
        """The kind, as the configuration writes it."""
        return str(type(self).__struct_config__.tag)

    @property
    def every(self) -> int:
        """Seconds between two pulls."""
        return self.interval if self.interval is not None else self.interval_default


class HttpUpstream(UpstreamBase, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind that speaks HTTP has."""

    key: str | None = None
    """Where the key is, never the key itself: `env:NAME`, `file:/path` or `credential:NAME` (systemd)."""
    ca_file: str | None = None
    """PEM file with the certificate authorities to trust instead of the system's."""
    proxy: str | None = None
    """Proxy to go through, such as `http://proxy:3128`; variables such as HTTPS_PROXY are not looked at."""
    client_certificate: str | None = None
    """PEM file with the certificate, and its key, to show to the upstream (mutual TLS)."""
    timeout: Annotated[int, Meta(ge=1, le=3600)] = 120
    """Seconds that a pull may take; a connection that is silent for 20 seconds ends earlier."""
    max_bytes: Annotated[int, Meta(ge=65_536, le=1_073_741_824)] = 67_108_864
    """Largest answer to accept, decompressed."""

    def __post_init__(self) -> None:
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise ValueError(
                "key: write where the key is, env:NAME, file:/path or credential:NAME, never the key itself"
            )
        url: str | None = getattr(self, "url", None)
        if url is not None:
            _check_url(url, with_key=self.key is not None)


class LiveUpstream(HttpUpstream, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="live"):
    """Partner Live Sync of a Threat Cloud: the public one, or another private instance."""

    interval_default: ClassVar[int] = 300

    url: str
    """Address of the server: `https://threatcloud.example`; the path `/api/atr-rules/live` is added."""


class AtrRulesUpstream(HttpUpstream, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="atr-rules"):
    """The incremental endpoint that agents use, for a server where there is no partner key to have."""

    url: str
    """Address of the server: `https://threatcloud.example`; the path `/api/atr-rules` is added."""


class NpmUpstream(HttpUpstream, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="npm"):
    """The official package of rules, through an npm registry or a company's mirror of one."""

    url: str | None = None
    """Address of the registry; left out, the one in npm's own settings (NPM_CONFIG_REGISTRY, `.npmrc`)."""
    package: Annotated[
        str, Meta(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*\Z", max_length=214)
    ] = "agent-threat-rules"
    """Name of the package; its rules are the YAML files below `rules/`."""
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+-]+\Z", max_length=64)] = "latest"
    """A version such as `4.0.0`, or a tag such as `latest`, which moves."""


class DirectoryUpstream(UpstreamBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="directory"):
    """A folder, or a checkout, of rule files."""

    interval_default: ClassVar[int] = 60

    path: Annotated[str, Meta(pattern=r"^/")]
    """Absolute path of the folder; every `.yaml` and `.yml` file in and below it is a rule, but for names that begin
    with a dot."""


class PackageUpstream(UpstreamBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="package"):
    """The rules that an installed Python package carries, read as data: none of its code runs."""

    package: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
    """The package's import name; `pyatr` bundles 833 public rules (extra `threatcloud[rules]`)."""


class BundleUpstream(UpstreamBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bundle"):
    """Signed bundles that another instance exported, for networks without a way out."""

    interval_default: ClassVar[int] = 60

    key_file: Annotated[str, Meta(pattern=r"^/")]
    """PEM file with the manifest keys of the exporting instance (its `/.well-known/manifest-key.pem`); the old and
    the new one together while it rotates."""
    path: Annotated[str, Meta(pattern=r"^/")] | None = None
    """Absolute path of a bundle to look for; left out, bundles come by `threatcloud bundle import` alone."""


Upstream = (
    LiveUpstream | AtrRulesUpstream | NpmUpstream | DirectoryUpstream | PackageUpstream | BundleUpstream
)


def settings_digest(upstream: UpstreamBase) -> str:
    """Return the SHA-256 (hex) of the whole entry: another digest makes the next pull start from nothing."""
    return hashlib.sha256(msgspec.json.encode(upstream, order="deterministic")).hexdigest()


def _check_url(url: str, *, with_key: bool) -> None:
    """Raise `ValueError` unless this is an http or https address that neither holds nor exposes a key."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("url: an address such as https://threatcloud.example is needed")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("url: write it without user, password, query or fragment; a key goes to `key`")
    if with_key and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("url: https is needed, since the key would cross the network in clear")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Kind `npm`: the package of official rules, from an npm registry or a company's mirror of one."""

import re
from urllib.parse import quote, urlsplit

import msgspec
from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory, SourceError
from app.federation.sources.http import Exchange
from app.federation.sources.integrity import check_integrity
from app.federation.sources.json_body import decode
from app.federation.sources.npm_settings import registry_of
from app.federation.sources.spool import Spool
from app.federation.sources.tarball import rule_files
from app.federation.upstream import NpmUpstream
from app.http.problem import printable, quoted

ACCEPT = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8"
"""The registry's short form of a package's document."""

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.tgz\Z")


class _Dist(msgspec.Struct, frozen=True):
    tarball: str
    integrity: str = ""


class _Version(msgspec.Struct, frozen=True):
    dist: _Dist


class _Package(msgspec.Struct, frozen=True):
    name: str
    versions: dict[str, msgspec.Raw]
    tags: dict[str, str] = msgspec.field(name="dist-tags", default_factory=dict)


def collect_npm(upstream: NpmUpstream, memory: Memory, spool: str, exchange: Exchange) -> Collected:
    """Ask for the package's document, and for its tarball when the digest announced there is a new one.

    The digest is checked before anything is unpacked. Raises `SourceError` and `OSError`.
    """
    registry = registry_of(upstream)
    answer = exchange.get_json(
        f"{registry}/{quote(upstream.package, safe='@')}", accept=ACCEPT, etag=memory.etag
    )
    if answer.body is None:
        return Collected("unchanged", label=memory.label, memory=memory)
    version, dist = _chosen(upstream, decode(answer.body, _Package))
    if dist.integrity and dist.integrity == memory.fingerprint:
        return Collected("unchanged", label=memory.label, memory=replace(memory, etag=answer.etag))
    tarball = exchange.get_file(_tarball_url(registry, upstream.package, dist.tarball))
    check_integrity(tarball, dist.integrity)
    with Spool(spool, upstream.max_bytes) as file:
        for path, text in rule_files(tarball, upstream.max_bytes):
            file.add(path, text)
    if not file.items:
        raise SourceError("shape", f"The package {upstream.package} has no YAML files below rules/.")
    return Collected(
        "changed",
        label=version,
        items=file.items,
        memory=Memory(label=version, etag=answer.etag, fingerprint=dist.integrity),
    )


def _chosen(upstream: NpmUpstream, package: _Package) -> tuple[str, _Dist]:
    """The version that is asked for, by its number or by a tag."""
    if package.name != upstream.package:
        raise SourceError("mixed-up", f"The registry answered for {quoted(package.name)}, another package.")
    version = upstream.version
    if version not in package.versions:
        version = package.tags.get(version, "")
    if version not in package.versions:
        raise SourceError(
            "not-found", f"{upstream.package} has neither a version nor a tag {upstream.version}."
        )
    return printable(version[:64]), decode(package.versions[version], _Version).dist


def _tarball_url(registry: str, package: str, announced: str) -> str:
    """Where the tarball is, always at the registry: mirrors often repeat the address of the original."""
    try:
        there, here = urlsplit(announced), urlsplit(registry)
    except ValueError:
        raise SourceError("shape", "The registry names no address for the package.") from None
    if (there.scheme, there.netloc) == (here.scheme, here.netloc):
        return announced
    file = there.path.rpartition("/")[2]
    if not _FILE.match(file):
        raise SourceError("shape", "The registry names no file for the package.")
    return f"{registry}/{package}/-/{file}"

"""Kind `npm`: the package of official rules, from an npm registry or a company's mirror of one.

The registry is the one configured, else the one in npm's own settings. The package is checked against the digest that
the registry announces before anything is unpacked; its rule files are read one after another, never written to disk.
"""

import base64
import contextlib
import gzip
import hashlib
import hmac
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory, SourceError
from app.federation.sources.http import Exchange, read_json
from app.federation.sources.spool import Spool
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
    version, dist = _chosen(upstream, read_json(answer.body, _Package))
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
    """Choose the version that is asked for, by its number or by a tag."""
    if package.name != upstream.package:
        raise SourceError("mixed-up", f"The registry answered for {quoted(package.name)}, another package.")
    version = upstream.version
    if version not in package.versions:
        version = package.tags.get(version, "")
    if version not in package.versions:
        raise SourceError(
            "not-found", f"{upstream.package} has neither a version nor a tag {upstream.version}."
        )
    return printable(version[:64]), read_json(package.versions[version], _Version).dist


def _tarball_url(registry: str, package: str, announced: str) -> str:
    """Return where the tarball is, always at the registry: mirrors often repeat the address of the original."""
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


GLOBAL_FILE = Path("/etc/npmrc")
_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")


def registry_of(upstream: NpmUpstream, environ: Mapping[str, str] = os.environ) -> str:
    """Return the registry's address without a trailing slash.

    Looked for in this order: `url`, the environment, `~/.npmrc`, `/etc/npmrc` and `$PREFIX/etc/npmrc`. None is
    built in: nothing leaves the network that nobody configured. Raises `SourceError` not-found, and unreadable when
    what npm's settings say could not be written as `url`.
    """
    found = upstream.url or next(filter(None, map(environ.get, _VARIABLES)), None)
    if found is None:
        found = next(filter(None, map(_from_file, _files(environ))), None)
    if found is None:
        raise SourceError(
            "not-found",
            "No npm registry is configured: set url, the variable NPM_CONFIG_REGISTRY, or registry= in .npmrc.",
        )
    try:
        checked = replace(upstream, url=found).url or ""
    except ValueError as error:
        raise SourceError("unreadable", f"The registry in npm's settings cannot be used; {error}.") from None
    return checked.rstrip("/")


def _files(environ: Mapping[str, str]) -> list[Path]:
    files = [GLOBAL_FILE]
    if home := environ.get("HOME"):
        files.insert(0, Path(home) / ".npmrc")
    if prefix := environ.get("PREFIX"):
        files.append(Path(prefix) / "etc/npmrc")
    return files


def _from_file(path: Path) -> str | None:
    """Return the value of `registry=`; None when the file is missing or not readable."""
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "registry" and value.strip():
                return value.strip().strip("\"'")
    return None


_ALGORITHMS = ("sha512", "sha384", "sha256")


def check_integrity(content: bytes, announced: str) -> None:
    """Compare with the strongest digests announced (one of several equally strong ones must fit).

    SHA-1 and MD5 prove nothing any more. Raises `SourceError` integrity.
    """
    digests = [token.partition("?")[0].partition("-") for token in announced.split()]
    for algorithm in _ALGORITHMS:
        wanted = [digest for name, _, digest in digests if name == algorithm]
        if wanted:
            actual = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
            if any(hmac.compare_digest(actual.encode(), digest.encode()) for digest in wanted):
                return
            raise SourceError(
                "integrity", f"The package is not the one that the registry announces ({algorithm})."
            )
    raise SourceError(
        "integrity", "The registry announces no SHA-2 digest of the package, so it cannot be checked."
    )


MAX_MEMBERS = 50_000
_RULE = re.compile(r"[^/]+/(?P<path>rules/.+\.ya?ml)\Z")


def rule_files(package: bytes, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield `(path below the package's folder, content)` of each `rules/**/*.yaml` or `.yml`, in their order.

    Only regular files count; links, devices, sparse files and paths with `..` do not. Raises `SourceError`: too-large
    past `limit` bytes unpacked or `MAX_MEMBERS`, mixed-up when a path is there twice (npm would keep the last),
    unreadable when it is no gzipped tar.
    """
    seen: set[str] = set()
    try:
        stream = _Limited(gzip.GzipFile(fileobj=io.BytesIO(package)), limit)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, 1):
                if number > MAX_MEMBERS:
                    raise SourceError("too-large", f"The package has more than {MAX_MEMBERS} files.")
                path = _rule_path(member)
                content = archive.extractfile(member) if path else None
                if path is None or content is None:
                    continue
                if path in seen:
                    raise SourceError("mixed-up", "The package has two files of the same name.")
                seen.add(path)
                yield path, content.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError):
        raise SourceError("unreadable", "The package is no gzipped tar archive.") from None


def _rule_path(member: tarfile.TarInfo) -> str | None:
    match = _RULE.match(member.name)
    if match is None or not member.isreg() or member.issparse():
        return None
    path = match["path"]
    is_plain = path.isprintable() and not {"", ".", ".."} & set(member.name.split("/"))
    return path if is_plain else None


class _Limited(io.RawIOBase):
    """A stream that ends with a failure instead of growing without bounds."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._limit = limit
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, or `SourceError` too-large past the limit."""
        content = self._stream.read(size if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise SourceError(
                "too-large", f"The package unpacks to more than {self._limit} bytes; see `max_bytes`."
            )
        return content

"""Upstreams: can what the configuration names be read, how are they doing, and what waits for an admin."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from app.doctor.finding import Finding
from app.federation.sources.collected import SourceError
from app.federation.sources.secret import read_upstream_key
from app.federation.sources.tls import tls_context
from app.federation.status import HINTS, UpstreamStatus, is_pulled, read_status
from app.federation.upstream import BundleUpstream, DirectoryUpstream, HttpUpstream, Upstream
from app.publication.store import freeze
from app.signing.jws import MAX_PEM_BYTES, read_keys


def files(upstreams: Sequence[Upstream]) -> Iterator[Finding]:
    """Files and folders that cannot be used by this user.

    A key in the environment, or one that systemd hands over, is the server's alone and is not looked for.
    """
    for upstream in upstreams:
        for error in _file_errors(upstream):
            code, message = error.failure.code, error.failure.message
            yield Finding(f"upstream {upstream.name}: files", "failed", message, HINTS[code])


def conditions(db: Database, upstreams: Sequence[Upstream], now: datetime) -> Iterator[Finding]:
    """How each upstream is, what is held or set aside from it, and the rollback that holds all of them."""
    held_back = freeze(db)
    if held_back is not None:
        found = (
            f"since {held_back.since} the set of publication {held_back.serial} is served again, nothing newer,"
            f" and nothing is pulled: {held_back.reason}"
        )
        yield Finding(
            "rollback", "warning", found, "When the reason is gone: threatcloud publication release"
        )
    for upstream in upstreams:
        status = read_status(db, upstream, None, now)
        yield _health(upstream, status)
        if status.held:
            found, todo = f"{status.held} changes wait", f"threatcloud upstream held {status.name}"
            yield Finding(f"upstream {status.name}: held", "warning", found, todo)
        if status.set_aside:
            found = f"{status.set_aside} offered rules are not taken"
            todo = f"threatcloud upstream set-aside {status.name}"
            yield Finding(f"upstream {status.name}: set aside", "warning", found, todo)


def _health(upstream: Upstream, status: UpstreamStatus) -> Finding:
    check = f"upstream {status.name}"
    since = f"the last success was {status.last_success}" if status.last_success else "it never succeeded"
    if status.failure is not None:
        code, message, failures = status.failure.code, status.failure.message, status.failure.failures
        age, limit = status.stale_seconds, status.stale_after
        is_old = age is None or (limit is not None and age > limit)
        found = f"failing ({code}, {failures} in a row), {since}: {message}"
        return Finding(check, "failed" if is_old else "warning", found, HINTS[code])
    if status.state == "never":
        pull = f"threatcloud upstream sync {status.name}"
        todo = pull if is_pulled(upstream) else f"threatcloud bundle import FILE --upstream {status.name}"
        return Finding(check, "warning", "nothing was ever pulled from it", todo)
    if status.state == "stale":
        todo = f"Start the server, or: threatcloud upstream sync {status.name}"
        return Finding(check, "failed", f"stale: {since}", todo)
    return Finding(check, "ok", f"{status.rules} rules, version {status.version or '-'}, {since}")


def _file_errors(upstream: Upstream) -> Iterator[SourceError]:
    try:
        if isinstance(upstream, HttpUpstream):
            if upstream.key is not None and upstream.key.startswith("file:"):
                read_upstream_key(upstream.key)
            if upstream.ca_file is not None or upstream.client_certificate is not None:
                tls_context(upstream)
        elif isinstance(upstream, DirectoryUpstream):
            _check_access(Path(upstream.path), os.R_OK | os.X_OK)
        elif isinstance(upstream, BundleUpstream):
            with Path(upstream.key_file).open("rb") as file:
                read_keys(file.read(MAX_PEM_BYTES + 1))
            if upstream.path is not None and Path(upstream.path).exists():
                _check_access(Path(upstream.path), os.R_OK)
    except SourceError as error:
        yield error
    except OSError as error:
        yield SourceError("unreadable", f"{error.filename}: {error.strerror}")


def _check_access(path: Path, mode: int) -> None:
    if not path.exists():
        raise SourceError("not-found", f"path: {path} does not exist")
    if not os.access(path, mode):
        raise SourceError("unreadable", f"path: {path} is closed to this user")

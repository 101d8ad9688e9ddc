"""Which source reads which kind of upstream, and how its errors become failures."""

from msgspec.structs import replace

from app.federation.sources.atr_rules import collect_atr_rules
from app.federation.sources.bundle import collect_bundle
from app.federation.sources.collected import Collected, Failure, Memory, SourceError
from app.federation.sources.directory import collect_directory
from app.federation.sources.http import Exchange, Traffic
from app.federation.sources.live import collect_live
from app.federation.sources.npm import collect_npm
from app.federation.sources.package import collect_package
from app.federation.upstream import (
    AtrRulesUpstream,
    BundleUpstream,
    DirectoryUpstream,
    LiveUpstream,
    NpmUpstream,
    PackageUpstream,
    Upstream,
)
from app.http.problem import printable
from app.http.timestamps import from_text


def read_upstream(upstream: Upstream, memory: Memory, now: str, spool: str) -> Collected:
    """Read it; what goes wrong with the upstream, the network or a file is a failure, nothing else is."""
    traffic = Traffic()
    try:
        collected = _read(upstream, memory, now, spool, traffic)
    except SourceError as error:
        collected = Collected("failed", failure=error.failure)
    except OSError as error:
        collected = Collected("failed", failure=_file_failure(error))
    return replace(collected, requests=traffic.requests, received=traffic.received)


def _file_failure(error: OSError) -> Failure:
    place = printable(str(error.filename)) if error.filename else "A file"
    if isinstance(error, FileNotFoundError):
        return Failure("not-found", f"{place} does not exist.")
    return Failure(
        "unreadable", f"{place} cannot be read or written: {error.strerror or type(error).__name__}."
    )


def _read(upstream: Upstream, memory: Memory, now: str, spool: str, traffic: Traffic) -> Collected:
    match upstream:
        case DirectoryUpstream():
            return collect_directory(upstream, memory, spool)
        case PackageUpstream():
            return collect_package(upstream, memory, spool)
        case BundleUpstream():
            return collect_bundle(upstream, memory, now, spool)
        case LiveUpstream():
            with Exchange(upstream, from_text(now), traffic) as exchange:
                return collect_live(upstream, memory, spool, exchange)
        case AtrRulesUpstream():
            with Exchange(upstream, from_text(now), traffic) as exchange:
                return collect_atr_rules(upstream, memory, spool, exchange)
        case NpmUpstream():
            with Exchange(upstream, from_text(now), traffic) as exchange:
                return collect_npm(upstream, memory, spool, exchange)

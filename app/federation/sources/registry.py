"""Which source reads which kind of upstream; `collect` is what a pull runs in a sandbox."""

from msgspec.structs import replace

from app.federation.sources.bundle import collect_bundle
from app.federation.sources.collected import Collected, Failure, Memory, SourceError, Traffic
from app.federation.sources.directory import collect_directory
from app.federation.sources.package import collect_package
from app.federation.upstream import (
    AtrRulesUpstream,
    BundleUpstream,
    DirectoryUpstream,
    HttpUpstream,
    LiveUpstream,
    NpmUpstream,
    PackageUpstream,
    Upstream,
    settings_digest,
)
from app.http.problem import printable
from app.http.timestamps import from_text


def collect(upstream: Upstream, memory: Memory, now: str, spool: str) -> Collected:
    """Read what `upstream` offers at `now` (an instant as text); rule texts go to the file `spool`.

    Every fault of the upstream, the network or a file comes back as `failed`; an exception is a fault of ours. A
    call takes at most the upstream's `timeout` and 20 seconds more (a read that began just before the end), except
    from a server that trickles the head of its answer: give the sandbox 30 seconds more than `timeout`, so that it
    ends that too.

    What is remembered from pulls under other settings is not used: an upstream whose entry in the configuration has
    changed is read as if for the first time. That is also how an admin makes it forget, for instance after the other
    side was restored from a backup and now seems to replay. Bundles alone keep their memory: their order must hold
    whatever is configured.
    """
    settings = settings_digest(upstream)
    is_known = memory.settings == settings or isinstance(upstream, BundleUpstream)
    collected = read_upstream(upstream, memory if is_known else Memory(), now, spool)
    if collected.outcome == "failed":
        return collected
    return replace(collected, memory=replace(collected.memory, settings=settings))


def read_upstream(upstream: Upstream, memory: Memory, now: str, spool: str) -> Collected:
    """Read an upstream with the source of its kind; turn errors of the source and of files into failures."""
    traffic = Traffic()
    try:
        collected = _read(upstream, memory, now, spool, traffic)
    except SourceError as error:
        collected = Collected("failed", failure=error.failure)
    except OSError as error:
        collected = Collected("failed", failure=_file_failure(error))
    return replace(collected, requests=traffic.requests, received=traffic.received)


def _read(upstream: Upstream, memory: Memory, now: str, spool: str, traffic: Traffic) -> Collected:
    match upstream:
        case DirectoryUpstream():
            return collect_directory(upstream, memory, spool)
        case PackageUpstream():
            return collect_package(upstream, memory, spool)
        case BundleUpstream():
            return collect_bundle(upstream, memory, now, spool)
        case _:
            return _read_over_http(upstream, memory, now, spool, traffic)


def _read_over_http(
    upstream: HttpUpstream, memory: Memory, now: str, spool: str, traffic: Traffic
) -> Collected:
    # The serving process imports this module too; httpx is for the child alone, so it is imported here.
    from app.federation.sources.http import Exchange  # noqa: PLC0415
    from app.federation.sources.npm import collect_npm  # noqa: PLC0415
    from app.federation.sources.rule_api import collect_atr_rules, collect_live  # noqa: PLC0415

    with Exchange(upstream, from_text(now), traffic) as exchange:
        match upstream:
            case LiveUpstream():
                return collect_live(upstream, memory, spool, exchange)
            case AtrRulesUpstream():
                return collect_atr_rules(upstream, memory, spool, exchange)
            case NpmUpstream():
                return collect_npm(upstream, memory, spool, exchange)
    raise TypeError(f"no source reads upstreams of kind {upstream.kind}")


def _file_failure(error: OSError) -> Failure:
    place = printable(str(error.filename)) if error.filename else "A file"
    if isinstance(error, FileNotFoundError):
        return Failure("not-found", f"{place} does not exist.")
    return Failure(
        "unreadable", f"{place} cannot be read or written: {error.strerror or type(error).__name__}."
    )

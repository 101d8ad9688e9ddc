"""The function that a pull runs in a sandbox: look at one upstream, of whatever kind, once."""

from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory
from app.federation.sources.settings import settings_digest
from app.federation.upstream import BundleUpstream, Upstream

__all__ = ["collect", "settings_digest"]


def collect(upstream: Upstream, memory: Memory, now: str, spool: str) -> Collected:
    """Read what `upstream` offers at `now` (an instant as text); rule texts go to the file `spool`.

    Whatever goes wrong with the upstream, the network or a file comes back as `failed`; an exception is a fault
    of ours. It takes at most the upstream's `timeout` and 20 seconds more (a read that began just before the
    end), except from a server that trickles the head of its answer: give the sandbox 30 seconds more than `timeout`,
    so that it ends that too.

    What is remembered from pulls under other settings is not used: an upstream whose entry in the configuration
    changed, in whatever way, is read as if for the first time. That is also how an admin makes it forget, say
    after the other side was restored from a backup and now seems to replay. Bundles alone keep their memory:
    their order must hold whatever is configured.
    """
    # httpx and what else sources need is for the child alone: the serving process imports this module too.
    from app.federation.sources.kinds import read_upstream  # noqa: PLC0415

    settings = settings_digest(upstream)
    is_known = memory.settings == settings or isinstance(upstream, BundleUpstream)
    collected = read_upstream(upstream, memory if is_known else Memory(), now, spool)
    if collected.outcome == "failed":
        return collected
    return replace(collected, memory=replace(collected.memory, settings=settings))

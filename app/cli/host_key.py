"""The key of one host: the one that it has while that is valid, else a new one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from app.cli.instance import Instance

KEYS = "/api/admin/keys"


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key for a host: `token` is None where there is none, or none yet; `revoked` are ids of keys.

    `given` was not inspected; `wanting` means that a dry run would have issued one.
    """

    state: Literal["none", "given", "kept", "issued", "wanting"]
    token: str | None
    revoked: tuple[str, ...] = ()


Source = Callable[[Instance], Awaitable[HostKey]]


def as_given(token: str | None) -> Source:
    """Return a source of the key that the caller has, not inspected, or of none."""

    async def source(_: Instance) -> HostKey:
        return HostKey("none" if token is None else "given", token)

    return source


def issued(subject: str, site: str | None) -> Source:
    """Return a source that issues a new agent key, whatever else the subject has."""

    async def source(instance: Instance) -> HostKey:
        return HostKey("issued", await _issue(instance, subject, site))

    return source


def enrolled(subject: str, site: str | None, held: str, *, dry_run: bool) -> Source:
    """Return a source that keeps the host's key if the instance accepts it as the subject's, else issues a new one.

    The subject's other agent keys are revoked before a new one is issued, since no host has them. So enrolling a host
    again changes nothing, and a host that was installed again leaves no key behind.
    """

    async def source(instance: Instance) -> HostKey:
        body = await instance.call("POST", f"{KEYS}/check", json={"token": held})
        key = body["data"]["key"]
        if key is not None and (key["role"], key["subject"]) == ("agent", subject):
            return HostKey("kept", held)
        listed = instance.pages(KEYS, None, role="agent", subject=subject)
        old = tuple([key["id"] async for key in listed if key["revoked_at"] is None])
        if dry_run:
            return HostKey("wanting", None, old)
        for key_id in old:
            await instance.call("DELETE", f"{KEYS}/{key_id}")
        return HostKey("issued", await _issue(instance, subject, site), old)

    return source


async def _issue(instance: Instance, subject: str, site: str | None) -> str:
    body = {"role": "agent", "subject": subject, "expires": None, "site": site}
    token: str = (await instance.call("POST", KEYS, json=body))["data"]["token"]
    return token

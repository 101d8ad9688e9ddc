"""The key of one host: the one that it has while that is good, and else a new one in its place."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from app.cli.instance import Instance

KEYS = "/api/admin/keys"


@dataclass(frozen=True, slots=True)
class HostKey:
    """What a host is given: `token` is None where there is none, or none yet; `revoked` are ids of keys.

    `given` was not looked at; `wanting` means that a dry run would have issued one.
    """

    state: Literal["none", "given", "kept", "issued", "wanting"]
    token: str | None
    revoked: tuple[str, ...] = ()


Source = Callable[[Instance], Awaitable[HostKey]]


def as_given(token: str | None) -> Source:
    """The key that the caller has, unseen, or none."""

    async def source(_: Instance) -> HostKey:
        return HostKey("none" if token is None else "given", token)

    return source


def issued(subject: str, site: str | None) -> Source:
    """A new agent key, whatever else the subject has."""

    async def source(instance: Instance) -> HostKey:
        return HostKey("issued", await _issue(instance, subject, site))

    return source


def enrolled(subject: str, site: str | None, held: str, *, dry_run: bool) -> Source:
    """The agent key that the host holds, if the instance accepts it as the subject's.

    Otherwise a new one; whatever agent keys the subject had are revoked first, since no host has them. So enrolling a
    host again changes nothing, and a host that was set up anew leaves no key behind.
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

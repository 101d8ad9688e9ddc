"""`Principal`: who is behind a request, and the roles of keys. `Actor`: who decides, as the audit log keeps it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

Enrolment = Literal["admin", "self"]
"""Who named the identity: an administrator, or the client when it registered itself."""


class Role(StrEnum):
    """The role of a key; each route names the roles that it serves."""

    AGENT = "agent"
    PARTNER = "partner"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class Principal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An authenticated key, the local operator, or somebody without a key (`role` None).

    `subject` is the identity that consensus counts: several keys may share one. `registered_from` is the
    address that a self-registered key was registered from, `address` the one of this request.
    """

    key_id: str
    role: Role | None
    subject: str
    enrolled: Enrolment
    registered_from: str | None
    site: str | None
    address: str

    @property
    def actor(self) -> str:
        """The name of this principal in the audit log: `agent-7 (key 3f2a9c0d11e2b3a4)`, `local`, `anonymous`."""
        return self.subject if self.is_local or not self.key_id else f"{self.subject} (key {self.key_id})"

    @property
    def is_local(self) -> bool:
        """True for the local operator: ids of real keys are hexadecimal."""
        return self.key_id == "local"


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who acts, as the audit log names them; from which address (None: from no network), and when."""

    name: str
    address: str | None
    at: datetime


LOCAL = Principal(
    key_id="local",
    role=Role.ADMIN,
    subject="local",
    enrolled="admin",
    registered_from=None,
    site=None,
    address="local",
)
"""The user of the instance's unix socket: the operating system decides who can open it."""


def anonymous(address: str) -> Principal:
    """Return the principal of a caller without a key."""
    return Principal(
        key_id="",
        role=None,
        subject="anonymous",
        enrolled="self",
        registered_from=None,
        site=None,
        address=address,
    )

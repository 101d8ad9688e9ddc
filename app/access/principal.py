"""`Principal`: who is behind a request. `Actor`: who decides something, as the audit log keeps it."""

from datetime import datetime

import msgspec

from app.access.keys import Enrolment, KeyRecord
from app.access.roles import Role


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
        """How the audit log names this principal: `agent-7 (key 3f2a9c0d11e2b3a4)`, `local`, `anonymous`."""
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
"""Whoever can open the instance's unix socket: the operating system has already decided who that is."""


def anonymous(address: str) -> Principal:
    """Somebody without a key."""
    return Principal(
        key_id="",
        role=None,
        subject="anonymous",
        enrolled="self",
        registered_from=None,
        site=None,
        address=address,
    )


def holder_of(record: KeyRecord, address: str) -> Principal:
    """Whoever uses the key of this record, from this address."""
    return Principal(
        key_id=record.id,
        role=record.role,
        subject=record.subject,
        enrolled=record.enrolled,
        registered_from=record.address,
        site=record.site,
        address=address,
    )

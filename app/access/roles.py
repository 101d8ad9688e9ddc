"""The roles that a key can have."""

from enum import StrEnum


class Role(StrEnum):
    """What the holder of a key is; each route names the roles that it serves."""

    AGENT = "agent"
    PARTNER = "partner"
    REVIEWER = "reviewer"
    ADMIN = "admin"

"""Refusals that are about the caller, not about what was asked (RFC 6750 section 3, RFC 6585 section 4)."""

from __future__ import annotations

from collections.abc import Iterable

from app.access.limits import Verdict
from app.access.principal import Role
from app.http.problem import Problem

CHALLENGE = 'Bearer realm="threatcloud"'
_REASONS = {
    "malformed": "This is no key of this instance: send Authorization: Bearer, a space, and the key.",
    "expired": "This key has expired: ask the administrator for a new one.",
    "revoked": "This key was revoked: ask the administrator for a new one.",
    "unknown": "This instance does not know this key: it may be older than a restored backup.",
}


def invalid_key(reason: str) -> Problem:
    """401 for a key that was sent and is not accepted; `reason` is a key of the table above."""
    sentence = _REASONS[reason]
    challenge = f'{CHALLENGE}, error="invalid_token", error_description="{sentence}"'
    return Problem(401, sentence, {"reason": reason}, {"WWW-Authenticate": challenge})


def key_needed() -> Problem:
    """401 for a request without a key where one is needed."""
    return Problem(
        401,
        "This needs a key: send Authorization: Bearer, a space, and the key.",
        {"reason": "missing"},
        {"WWW-Authenticate": CHALLENGE},
    )


def wrong_role(role: Role, allowed: Iterable[Role]) -> Problem:
    """403 that names the roles which may."""
    roles = sorted(role.value for role in allowed)
    return Problem(403, f"A key with the role {role} may not do this.", {"role": role, "allowed": roles})


def too_fast(verdict: Verdict) -> Problem:
    """429 with `Retry-After`; the code `rate_limited` is the public server's."""
    return Problem(
        429,
        "rate_limited",
        {"limit": verdict.limit, "retry_after": verdict.retry_after},
        {"Retry-After": str(verdict.retry_after)},
    )

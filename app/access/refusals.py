"""Refusals that concern the caller, not the request (RFC 6750 section 3, RFC 6585 section 4)."""

from collections.abc import Iterable

from app.access.limits import RateVerdict
from app.access.policy import AccessMode
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
    """Return a 401 for a key that is not accepted; `reason` is a key of the table above."""
    sentence = _REASONS[reason]
    challenge = f'{CHALLENGE}, error="invalid_token", error_description="{sentence}"'
    return Problem(401, sentence, {"reason": reason}, {"WWW-Authenticate": challenge})


def key_needed() -> Problem:
    """Return a 401 for a request without a key where one is needed."""
    return Problem(
        401,
        "This needs a key: send Authorization: Bearer, a space, and the key.",
        {"reason": "missing"},
        {"WWW-Authenticate": CHALLENGE},
    )


def wrong_role(role: Role, allowed: Iterable[Role]) -> Problem:
    """Return a 403 that names the roles which are allowed."""
    roles = sorted(role.value for role in allowed)
    return Problem(403, f"A key with the role {role} may not do this.", {"role": role, "allowed": roles})


def registration_refused(mode: AccessMode, address: str) -> Problem:
    """Return a 403 that says what the owner would have to configure."""
    if mode == "closed":
        return Problem(
            403,
            "This instance does not let clients register themselves. Ask its administrator for a key, "
            'or to set registration = "networks" under [access] in its configuration.',
        )
    return Problem(
        403,
        f"Clients may register themselves from certain networks only, and {address} is in none of them. "
        "Ask the administrator for a key, or to add your network to networks under [access] in the "
        "configuration.",
    )


def too_fast(verdict: RateVerdict) -> Problem:
    """Return a 429 with `Retry-After`; the code `rate_limited` is the public server's."""
    return Problem(
        429,
        "rate_limited",
        {"limit": verdict.limit, "retry_after": verdict.retry_after},
        {"Retry-After": str(verdict.retry_after)},
    )

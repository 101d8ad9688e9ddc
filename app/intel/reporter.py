"""Who sent a report: the dependency `reporter` of the handlers that take reports."""

from dataclasses import dataclass

from app.access.principal import Principal
from app.access.route_guards import principal_of
from app.http.envelope import AnyRequest
from app.http.services import FromRequest
from app.privacy.anonymisation import Pseudonyms

NOBODY = ""
"""The subject in columns that are part of a primary key, for reports without an API key."""
MAX_CLIENT_ID = 128


@dataclass(frozen=True, slots=True)
class Reporter:
    """The sender of a report; `subject` is None without a key: the report is then kept, and counts for nobody.

    `client` is the pseudonym of the name the client gives itself, which proves nothing. `address` is the sender's
    own, as consensus records it too.
    """

    subject: str | None
    key_id: str
    address: str
    client: str | None


def reporter_of(principal: Principal, client_id: str | None, pseudonyms: Pseudonyms) -> Reporter:
    """Return the sender as evidence records it."""
    return Reporter(
        subject=None if principal.role is None else principal.subject,
        key_id=principal.key_id,
        address=principal.address,
        client=pseudonyms.of("client", client_id[:MAX_CLIENT_ID]) if client_id else None,
    )


def _sender_of(request: AnyRequest) -> Reporter:
    client_id = request.headers.get("x-panguard-client-id")
    return reporter_of(principal_of(request), client_id, request.app.state.pseudonyms)


intel_dependencies = {"reporter": FromRequest(_sender_of)}
"""What handlers of reports may name in their signature beside services, caller and time."""

"""Instants as the wire and the database write them: ISO 8601, UTC, milliseconds, `Z`."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime


def to_text(instant: datetime) -> str:
    """`2026-04-17T00:03:42.124Z`; text order is time order."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Read an ISO 8601 instant or date; one without a zone is UTC.

    Raises `ValueError` for anything else.
    """
    instant = datetime.fromisoformat(text.strip())
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"out of range: {text!r}") from error


def to_http_date(instant: datetime) -> str:
    """`Fri, 17 Apr 2026 00:03:42 GMT` (RFC 9110 section 5.6.7)."""
    return format_datetime(instant.astimezone(UTC).replace(microsecond=0), usegmt=True)


def from_http_date(text: str) -> datetime | None:
    """Return the instant of an HTTP date, or None when it is not one (RFC 9110 13.1.3: then ignore the header)."""
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

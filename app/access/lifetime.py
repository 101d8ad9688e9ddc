"""How long a key lives, as people write it."""

import re
from datetime import UTC, datetime, timedelta

from app.http.problem import bad_request
from app.http.timestamps import from_text

UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_SPAN = re.compile(r"([0-9]{1,6})([dhm])")


def parse_lifetime(text: str, now: datetime) -> datetime:
    """The instant, in whole seconds, at which a key issued `now` ends.

    Takes a span (`90d`, `12h`, `30m`) or an ISO 8601 instant. Raises `Problem` 400 that names `expires` for
    anything else, and for an instant that is not in the future.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        end = now + timedelta(**{UNITS[span[2]]: int(span[1])}) if span else from_text(text)
    except ValueError as error:
        raise bad_request(
            "expires: a span such as 90d, 12h or 30m, or an instant such as 2027-01-31T00:00:00Z", "expires"
        ) from error
    end = end.astimezone(UTC).replace(microsecond=0)
    if end <= now:
        raise bad_request("expires: this is not in the future", "expires")
    return end

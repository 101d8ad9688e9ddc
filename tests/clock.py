"""The moment at which tests begin, and a clock that moves only when a test moves it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.http.timestamps import to_text

NOW = datetime(2026, 4, 17, 10, 30, 0, 124_000, tzinfo=UTC)
"""Within an hour and within a second, so that what is cut to either of them shows."""
NOW_TEXT = to_text(NOW)


@dataclass
class Clock:
    now: datetime = NOW

    def forward(self, **span: float) -> None:
        """Move on by a `timedelta` of these units."""
        self.now += timedelta(**span)

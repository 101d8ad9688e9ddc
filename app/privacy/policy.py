"""`[retention]` of the configuration file."""

from typing import Annotated

import msgspec
from msgspec import Meta

Days = Annotated[int, Meta(ge=1, le=3650)]


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days each class of data is kept after it was last reported; a job deletes it daily."""

    indicators_days: Days = 90
    """Sightings of addresses, and what is listed because of them; entries of an admin stay."""

    threats_days: Days = 90
    """Threat events of Guards, traps and scanners."""

    skills_days: Days = 90
    """Reports on skills and votes for them; with the last ones, a skill leaves its list. Entries of an admin stay."""

    sealed_days: Days = 30
    """Sealed reports, where `intel.keep_sealed` keeps them."""

    fleet_days: Days = 90
    """What agents, devices and scanners say of themselves."""

    counts_days: Days = 730
    """Counts per hour, which name nobody."""

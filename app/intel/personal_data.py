"""Every class of data that is kept of clients, for retention, export and erasure."""

from app.consensus.personal_data import consensus_data
from app.consensus.policy import ConsensusPolicy
from app.fleet.store import FLEET_DATA
from app.intel.indicators.store import indicator_data
from app.intel.reports.store import REPORT_DATA
from app.intel.skills.analysis_store import SKILL_VERSION_DATA
from app.intel.skills.store import skill_data
from app.intel.telemetry.store import TELEMETRY_DATA
from app.privacy.personal_data import PersonalData


def all_personal_data(policy: ConsensusPolicy) -> tuple[PersonalData, ...]:
    """Return the data of all capabilities; `policy` decides which votes count when others are erased."""
    return (
        consensus_data(policy),
        REPORT_DATA,
        skill_data(policy),
        indicator_data(policy),
        FLEET_DATA,
        SKILL_VERSION_DATA,
        TELEMETRY_DATA,
    )

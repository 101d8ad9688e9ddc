"""What consensus keeps of clients: their confirmations of proposals and their feedback on rules."""

from sqlite_utils import Database

from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import load_state, transition, undecided_proposals_of
from app.privacy.personal_data import PersonalData
from app.privacy.store import delete_rows_of_subject, rows_of_subject

_TABLES = {"confirmations": "confirmation", "feedback": "feedback"}


def consensus_data(policy: ConsensusPolicy) -> PersonalData:
    """Return how to export and erase it; an erasure counts undecided proposals again. It does not age."""

    def erase(db: Database, subject: str, at: str) -> dict[str, int]:
        proposals = undecided_proposals_of(db, subject)
        erased = {name: delete_rows_of_subject(db, table, subject) for name, table in _TABLES.items()}
        for pattern_hash in proposals:
            transition(db, load_state(db, pattern_hash, policy), Event.TICK, at)
        return erased

    return PersonalData(
        export=lambda db, subject: {
            name: rows_of_subject(db, table, subject) for name, table in _TABLES.items()
        },
        erase=erase,
    )

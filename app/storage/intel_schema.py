"""The migrations of `app.intel`; the rules of `app.storage.schema` hold here too."""

from sqlite_utils import Database


def m0006_intel(db: Database) -> None:
    """Create the tables of evidence from the fleet, and of its results; every instant of a report is cut to its hour.

    A `subject` is NULL (or empty where it is part of a key) for reports without a key, which count for nobody.
    """
    db.executescript("""
        CREATE INDEX key_revoked ON key (revoked_at) WHERE revoked_at IS NOT NULL;

        CREATE TABLE report_tally (
            hour TEXT NOT NULL,
            name TEXT NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (hour, name)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE threat (
            id INTEGER PRIMARY KEY,
            channel TEXT NOT NULL CHECK (channel IN ('threats', 'trap', 'manager')),
            received TEXT NOT NULL,
            hour TEXT NOT NULL,
            subject TEXT,
            client TEXT,
            source_network TEXT,
            attack_type TEXT NOT NULL,
            mitre_technique TEXT NOT NULL,
            rule_ids TEXT NOT NULL,
            region TEXT NOT NULL,
            detail TEXT NOT NULL
        ) STRICT;
        CREATE INDEX threat_by_age ON threat (received);
        CREATE INDEX threat_by_subject ON threat (subject) WHERE subject IS NOT NULL;
        CREATE INDEX threat_by_type ON threat (attack_type);
        CREATE INDEX threat_by_technique ON threat (mitre_technique);

        CREATE TABLE sealed (
            id INTEGER PRIMARY KEY,
            received TEXT NOT NULL,
            subject TEXT,
            client TEXT,
            envelope TEXT NOT NULL
        ) STRICT;
        CREATE INDEX sealed_by_age ON sealed (received);
        CREATE INDEX sealed_by_subject ON sealed (subject) WHERE subject IS NOT NULL;

        CREATE TABLE skill_threat (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            skill_hash TEXT NOT NULL,
            subject TEXT NOT NULL,
            key_id TEXT NOT NULL,
            address TEXT NOT NULL,
            client TEXT,
            display TEXT NOT NULL,
            risk_score REAL NOT NULL,
            risk_level TEXT NOT NULL CHECK (risk_level IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
            findings TEXT NOT NULL,
            source TEXT NOT NULL,
            reports INTEGER NOT NULL,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL,
            UNIQUE (name, skill_hash, subject)
        ) STRICT;
        CREATE INDEX skill_threat_by_age ON skill_threat (last_at);
        CREATE INDEX skill_threat_by_subject ON skill_threat (subject);

        CREATE TABLE skill_trust (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            subject TEXT NOT NULL,
            key_id TEXT NOT NULL,
            address TEXT NOT NULL,
            client TEXT,
            display TEXT NOT NULL,
            fingerprint TEXT,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL,
            UNIQUE (name, subject)
        ) STRICT;
        CREATE INDEX skill_trust_by_age ON skill_trust (last_at);
        CREATE INDEX skill_trust_by_subject ON skill_trust (subject);

        CREATE TABLE skill_entry (
            list TEXT NOT NULL CHECK (list IN ('black', 'white')),
            name TEXT NOT NULL,
            display TEXT NOT NULL,
            hash TEXT,
            reason TEXT,
            added_by TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (list, name)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE skill_standing (
            name TEXT PRIMARY KEY,
            reported_as TEXT NOT NULL,
            trusted_as TEXT NOT NULL,
            skill_hash TEXT,
            reporters INTEGER NOT NULL,
            average_risk REAL NOT NULL,
            top_level TEXT NOT NULL,
            first_reported TEXT,
            last_reported TEXT,
            confirmations INTEGER NOT NULL,
            fingerprint TEXT,
            is_trusted INTEGER NOT NULL,
            is_disputed INTEGER NOT NULL,
            first_trusted TEXT,
            last_trusted TEXT,
            changed_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE indicator (
            kind TEXT NOT NULL CHECK (kind IN ('ip', 'domain')),
            value TEXT NOT NULL,
            origin TEXT NOT NULL CHECK (origin IN ('admin', 'reports')),
            digest TEXT NOT NULL,
            reputation INTEGER NOT NULL,
            category TEXT NOT NULL,
            reporters INTEGER NOT NULL,
            reason TEXT,
            added_by TEXT,
            changed_at TEXT NOT NULL,
            PRIMARY KEY (kind, value, origin)
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX indicator_by_digest ON indicator (kind, digest) WHERE origin = 'reports';

        CREATE TABLE indicator_report (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            digest TEXT NOT NULL,
            subject TEXT NOT NULL,
            key_id TEXT NOT NULL,
            address TEXT NOT NULL,
            category TEXT NOT NULL,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL,
            UNIQUE (kind, digest, subject)
        ) STRICT;
        CREATE INDEX indicator_report_by_age ON indicator_report (last_at);
        CREATE INDEX indicator_report_by_subject ON indicator_report (subject);
    """)


def m0007_fleet(db: Database) -> None:
    """Create the tables of agents' activity, of what they report of their hosts, and of tools' counts."""
    db.executescript("""
        CREATE TABLE sighting (
            key_id TEXT PRIMARY KEY REFERENCES key (id),
            seen_at TEXT NOT NULL,
            serial INTEGER,
            served_at TEXT
        ) STRICT;

        CREATE TABLE agent_report (
            key_id TEXT PRIMARY KEY REFERENCES key (id),
            at TEXT NOT NULL,
            version TEXT,
            hostname TEXT,
            os TEXT,
            arch TEXT,
            mode TEXT,
            device TEXT,
            agents INTEGER,
            events INTEGER,
            threats INTEGER,
            actions INTEGER,
            uptime_seconds INTEGER,
            memory_mb REAL
        ) STRICT;

        CREATE TABLE counter (
            name TEXT NOT NULL,
            day TEXT NOT NULL,
            label TEXT NOT NULL,
            n INTEGER NOT NULL,
            PRIMARY KEY (name, day, label)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX counter_by_day ON counter (day);

        CREATE TABLE scanner (
            source TEXT NOT NULL,
            device TEXT NOT NULL,
            subject TEXT,
            seen_at TEXT NOT NULL,
            PRIMARY KEY (source, device)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX scanner_by_subject ON scanner (subject) WHERE subject IS NOT NULL;
        CREATE INDEX scanner_by_age ON scanner (seen_at);

        CREATE TABLE activation (
            client TEXT PRIMARY KEY,
            at TEXT NOT NULL,
            platform TEXT NOT NULL,
            os TEXT NOT NULL,
            version TEXT NOT NULL,
            node TEXT NOT NULL,
            subject TEXT
        ) STRICT;
        CREATE INDEX activation_by_age ON activation (at);
        CREATE INDEX activation_by_subject ON activation (subject) WHERE subject IS NOT NULL;

        CREATE TABLE skill_version (
            subject TEXT NOT NULL,
            package TEXT NOT NULL,
            digest TEXT NOT NULL,
            first_seen TEXT NOT NULL,
            last_seen TEXT NOT NULL,
            PRIMARY KEY (subject, package, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX skill_version_by_age ON skill_version (last_seen);
    """)

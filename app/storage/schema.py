"""The schema, as the ordered list of migrations that builds it.

Rules: append only; never edit, rename or reorder a migration that a release has shipped; each runs in one
transaction together with the record that it ran. Instants are ISO 8601 text, UTC, milliseconds, `Z`, so that
text order is time order.
"""

from sqlite_utils import Database, Migrations

from app.storage.intel_schema import m0006_intel, m0007_fleet


def m0001_access(db: Database) -> None:
    """Create the tables of keys, and of the audit chain that nothing may change."""
    db.executescript("""
        CREATE TABLE instance (
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT;

        CREATE TABLE key (
            id TEXT PRIMARY KEY,
            role TEXT NOT NULL CHECK (role IN ('agent', 'partner', 'reviewer', 'admin')),
            subject TEXT NOT NULL,
            enrolled TEXT NOT NULL CHECK (enrolled IN ('admin', 'self')),
            site TEXT,
            client_id TEXT,
            address TEXT,
            issued_at TEXT NOT NULL,
            expires_at TEXT,
            revoked_at TEXT
        ) STRICT;
        CREATE INDEX key_subject ON key (subject);
        CREATE INDEX key_issued ON key (issued_at, id);

        CREATE TABLE audit (
            id INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            target TEXT,
            detail TEXT NOT NULL,
            address TEXT,
            previous TEXT NOT NULL,
            hash TEXT NOT NULL
        ) STRICT;
        CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
        CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    """)


def m0002_rules(db: Database) -> None:
    """Create the tables of rule texts by their digest, and of which of them each origin has."""
    db.executescript("""
        CREATE TABLE rule_text (
            digest TEXT PRIMARY KEY,
            text TEXT NOT NULL,
            detection_digest TEXT,
            title TEXT NOT NULL,
            category TEXT NOT NULL,
            severity TEXT NOT NULL,
            mitre_techniques TEXT NOT NULL,
            tags TEXT NOT NULL,
            warnings TEXT NOT NULL,
            guard_text TEXT,
            guard_refusal TEXT
        ) STRICT;

        CREATE TABLE rule (
            origin TEXT NOT NULL,
            rule_id TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES rule_text (digest),
            state TEXT NOT NULL CHECK (state IN ('active', 'canary', 'quarantined', 'withdrawn')),
            pattern_hash TEXT,
            reason TEXT,
            first_seen TEXT NOT NULL,
            changed_at TEXT NOT NULL,
            PRIMARY KEY (origin, rule_id)
        ) STRICT;
        CREATE INDEX rule_by_id ON rule (rule_id);
        CREATE INDEX rule_by_digest ON rule (digest);
        CREATE UNIQUE INDEX rule_by_pattern ON rule (pattern_hash) WHERE pattern_hash IS NOT NULL;

        CREATE TABLE upstream (
            name TEXT PRIMARY KEY,
            checked_at TEXT,
            changed_at TEXT,
            error TEXT,
            set_aside TEXT NOT NULL DEFAULT '[]'
        ) STRICT;
    """)


def m0003_consensus(db: Database) -> None:
    """Create the tables of proposals, their variants and confirmations, and of feedback on served rules."""
    db.executescript("""
        CREATE TABLE proposal (
            pattern_hash TEXT PRIMARY KEY,
            status TEXT NOT NULL CHECK (status IN (
                'draft', 'pending', 'confirmed', 'canary', 'promoted',
                'rejected', 'quarantined', 'withdrawn')),
            confirmations INTEGER NOT NULL,
            approved_variant TEXT,
            reason TEXT,
            first_seen TEXT NOT NULL,
            changed_at TEXT NOT NULL,
            canary_since TEXT
        ) STRICT;
        CREATE INDEX proposal_newest ON proposal (first_seen, pattern_hash);
        CREATE INDEX proposal_by_status ON proposal (status, first_seen, pattern_hash);

        CREATE TABLE variant (
            pattern_hash TEXT NOT NULL REFERENCES proposal (pattern_hash),
            digest TEXT NOT NULL,
            text TEXT NOT NULL,
            is_rule INTEGER NOT NULL,
            problems TEXT NOT NULL,
            gate TEXT NOT NULL CHECK (gate IN ('waiting', 'passed', 'failed')),
            supplied_by TEXT,
            first_seen TEXT NOT NULL,
            PRIMARY KEY (pattern_hash, digest)
        ) STRICT;

        CREATE TABLE confirmation (
            pattern_hash TEXT NOT NULL REFERENCES proposal (pattern_hash),
            subject TEXT NOT NULL,
            key_id TEXT NOT NULL,
            variant TEXT NOT NULL,
            address TEXT NOT NULL,
            client_id TEXT,
            llm_provider TEXT NOT NULL,
            llm_model TEXT NOT NULL,
            self_review_verdict TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (pattern_hash, subject)
        ) STRICT;
        CREATE INDEX confirmation_by_subject ON confirmation (subject);

        CREATE TABLE feedback (
            rule_id TEXT NOT NULL,
            subject TEXT NOT NULL,
            is_true_positive INTEGER NOT NULL,
            address TEXT NOT NULL,
            settled INTEGER NOT NULL DEFAULT 0,
            at TEXT NOT NULL,
            PRIMARY KEY (rule_id, subject)
        ) STRICT;
    """)


def m0004_publication(db: Database) -> None:
    """Create the tables of immutable publications; only the newest has bodies, since a rollback builds them again."""
    db.executescript("""
        CREATE TABLE publication (
            serial INTEGER PRIMARY KEY,
            published_at TEXT NOT NULL UNIQUE,
            digest TEXT NOT NULL,
            total INTEGER NOT NULL,
            canary INTEGER NOT NULL,
            reason TEXT NOT NULL,
            restores INTEGER,
            manifest TEXT NOT NULL
        ) STRICT;

        CREATE TABLE publication_rule (
            serial INTEGER NOT NULL REFERENCES publication (serial),
            rule_id TEXT NOT NULL,
            origin TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES rule_text (digest),
            ring TEXT NOT NULL CHECK (ring IN ('stable', 'canary')),
            published_at TEXT NOT NULL,
            PRIMARY KEY (serial, rule_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX publication_rule_digest ON publication_rule (digest);

        CREATE TABLE publication_body (
            serial INTEGER NOT NULL REFERENCES publication (serial),
            representation TEXT NOT NULL,
            ring TEXT NOT NULL,
            body BLOB NOT NULL,
            gzip BLOB NOT NULL,
            entries BLOB NOT NULL,
            PRIMARY KEY (serial, representation, ring)
        ) STRICT;

        CREATE TABLE withdrawal (
            rule_id TEXT PRIMARY KEY,
            serial INTEGER NOT NULL,
            withdrawn_at TEXT NOT NULL
        ) STRICT;

        CREATE TABLE hold (
            name TEXT PRIMARY KEY,
            serial INTEGER NOT NULL,
            since TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
    """)


def m0005_federation(db: Database) -> None:
    """Create the tables of upstreams' versions, held changes, and the overlay: the company's own decisions."""
    db.executescript("""
        ALTER TABLE rule_text ADD COLUMN rule_id TEXT;
        ALTER TABLE rule_text ADD COLUMN status TEXT;
        ALTER TABLE rule_text ADD COLUMN maturity TEXT;

        CREATE TABLE upstream_version (
            id INTEGER PRIMARY KEY,
            upstream TEXT NOT NULL,
            label TEXT NOT NULL,
            digest TEXT NOT NULL,
            total INTEGER NOT NULL,
            first_seen TEXT NOT NULL,
            last_seen TEXT NOT NULL
        ) STRICT;
        CREATE INDEX upstream_version_newest ON upstream_version (upstream, id);

        CREATE TABLE upstream_rule (
            version INTEGER NOT NULL REFERENCES upstream_version (id),
            rule_id TEXT NOT NULL,
            digest TEXT NOT NULL REFERENCES rule_text (digest),
            source TEXT NOT NULL,
            PRIMARY KEY (version, rule_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX upstream_rule_digest ON upstream_rule (digest);

        ALTER TABLE rule ADD COLUMN source TEXT;
        ALTER TABLE rule ADD COLUMN version INTEGER REFERENCES upstream_version (id);
        ALTER TABLE rule ADD COLUMN excluded TEXT;
        ALTER TABLE publication_rule ADD COLUMN source TEXT;

        ALTER TABLE upstream ADD COLUMN kind TEXT NOT NULL DEFAULT 'package';
        ALTER TABLE upstream ADD COLUMN priority INTEGER NOT NULL DEFAULT 100;
        ALTER TABLE upstream ADD COLUMN version INTEGER REFERENCES upstream_version (id);
        ALTER TABLE upstream ADD COLUMN succeeded_at TEXT;
        ALTER TABLE upstream ADD COLUMN failure TEXT;
        ALTER TABLE upstream ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE upstream ADD COLUMN next_at TEXT;
        ALTER TABLE upstream ADD COLUMN pull_seconds REAL;
        ALTER TABLE upstream ADD COLUMN memory TEXT NOT NULL DEFAULT '{}';

        CREATE TABLE held_change (
            upstream TEXT NOT NULL,
            rule_id TEXT NOT NULL,
            change TEXT NOT NULL CHECK (change IN ('added', 'changed', 'withdrawn')),
            digest TEXT REFERENCES rule_text (digest),
            source TEXT,
            version INTEGER REFERENCES upstream_version (id),
            reasons TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('held', 'refused')),
            held_at TEXT NOT NULL,
            decided_at TEXT,
            decided_by TEXT,
            note TEXT,
            PRIMARY KEY (upstream, rule_id)
        ) STRICT;

        CREATE TABLE overlay (
            id TEXT PRIMARY KEY,
            rule_id TEXT NOT NULL,
            action TEXT NOT NULL CHECK (action IN ('disable', 'enable', 'pin', 'severity', 'replace')),
            severity TEXT,
            digest TEXT REFERENCES rule_text (digest),
            base TEXT REFERENCES rule_text (digest),
            owner TEXT NOT NULL,
            reason TEXT NOT NULL,
            created_at TEXT NOT NULL,
            expires_at TEXT,
            declared TEXT NOT NULL CHECK (declared IN ('config', 'api')),
            UNIQUE (rule_id, action)
        ) STRICT;

        CREATE TABLE overlaid (
            origin TEXT NOT NULL,
            rule_id TEXT NOT NULL,
            served INTEGER NOT NULL,
            digest TEXT REFERENCES rule_text (digest),
            PRIMARY KEY (origin, rule_id)
        ) STRICT, WITHOUT ROWID;
    """)


def m0008_marks(db: Database) -> None:
    """Add the fingerprint of a key's token (`app.access.token_cache`); NULL for older keys."""
    db.executescript("ALTER TABLE key ADD COLUMN mark BLOB;")


def m0009_sheets(db: Database) -> None:
    """Keep the representations of the newest publication compressed only, with the CRC-32 of the plain form.

    Existing ones are not taken over: the next start renders the same ones again.
    """
    db.executescript("""
        CREATE TABLE publication_sheet (
            serial INTEGER NOT NULL REFERENCES publication (serial),
            representation TEXT NOT NULL,
            ring TEXT NOT NULL,
            gzip BLOB NOT NULL,
            crc INTEGER NOT NULL,
            entries BLOB NOT NULL,
            PRIMARY KEY (serial, representation, ring)
        ) STRICT;
        DROP TABLE publication_body;
    """)


MIGRATIONS = (
    m0001_access,
    m0002_rules,
    m0003_consensus,
    m0004_publication,
    m0005_federation,
    m0006_intel,
    m0007_fleet,
    m0008_marks,
    m0009_sheets,
)

migrations = Migrations("threatcloud")
for _migration in MIGRATIONS:
    migrations()(_migration)

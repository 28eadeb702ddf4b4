-- The durable job store, one SQLite file. Times are UTC seconds since 1970.

-- Which state may follow which: edge_runtime.spool.states fills it, the trigger below asks it.
CREATE TABLE transition (old TEXT NOT NULL, new TEXT NOT NULL, PRIMARY KEY (old, new)) WITHOUT ROWID;

CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row for each content of a SOP instance. Another content is another revision.
CREATE TABLE film (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sop_instance_uid TEXT NOT NULL,
    revision INTEGER NOT NULL,
    content_sha256 TEXT NOT NULL,     -- of transfer syntax and data set, without file meta
    sop_class_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    patient_sha256 TEXT NOT NULL,     -- tells a corrected patient from a reprocessed film
    path TEXT NOT NULL,               -- below the spool's folder
    size INTEGER NOT NULL,
    source TEXT NOT NULL,
    urgency INTEGER NOT NULL,         -- as requested; 0 is the most urgent
    received_at REAL NOT NULL,
    state TEXT NOT NULL,
    state_since REAL NOT NULL,
    reason TEXT,                      -- of failed, quarantined, superseded and withdrawn
    starts INTEGER NOT NULL DEFAULT 0,    -- screenings begun since the last that ended
    failures INTEGER NOT NULL DEFAULT 0,  -- in a row
    next_try REAL NOT NULL DEFAULT 0,
    removed_at REAL,                  -- when its file was deleted
    UNIQUE (sop_instance_uid, revision),
    UNIQUE (sop_instance_uid, content_sha256)
);
CREATE INDEX film_waiting ON film (starts, urgency, id) WHERE state IN ('received', 'failed');
CREATE INDEX film_active ON film (state) WHERE state IN ('received', 'screening', 'failed', 'reported', 'unable');
CREATE INDEX film_quarantined ON film (reason) WHERE state = 'quarantined';
CREATE INDEX film_of_study ON film (study_instance_uid);
CREATE INDEX film_file ON film (path);
CREATE INDEX film_stored ON film (received_at) WHERE removed_at IS NULL;

CREATE TRIGGER film_enters BEFORE INSERT ON film
WHEN NEW.state NOT IN ('received', 'withdrawn')
BEGIN SELECT RAISE(ABORT, 'a film is received first'); END;

CREATE TRIGGER film_moves BEFORE UPDATE OF state ON film
WHEN NOT EXISTS (SELECT 1 FROM transition WHERE old = OLD.state AND new = NEW.state)
BEGIN SELECT RAISE(ABORT, 'no such transition of a film'); END;

-- What came of screening a film, as often as it was screened by other software, bundle or site file.
CREATE TABLE result (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    film_id INTEGER NOT NULL REFERENCES film,
    revision INTEGER NOT NULL,        -- among all results of films of this instance
    work TEXT NOT NULL,               -- hash of bundle, software and intended use
    current INTEGER NOT NULL DEFAULT 1,
    decision TEXT NOT NULL,
    tumour REAL,                      -- scores for the study's rule; null where there are none
    malignant REAL,
    document TEXT NOT NULL,           -- JSON, osteoedge.screening/1
    made_at REAL NOT NULL
);
CREATE UNIQUE INDEX one_current_result ON result (film_id) WHERE current;
CREATE INDEX result_of_film ON result (film_id);

-- What all current results of a study come to.
CREATE TABLE study (
    study_instance_uid TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    reported INTEGER NOT NULL DEFAULT 0,  -- the newest revision that has a report
    decision TEXT,                        -- null: no current result is left
    reasons TEXT NOT NULL,                -- JSON list
    urgency INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,    -- reports begun since the last that ended
    updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX study_unreported ON study (urgency, updated_at) WHERE reported < revision;

-- DICOM objects that may leave: reports, pictures, masks, rejection notes, and films themselves.
CREATE TABLE document (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    study_revision INTEGER,           -- of a report
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    made_at REAL NOT NULL,
    withdrawn TEXT,                   -- code of the reason, once it is not to be used
    note_id INTEGER REFERENCES document,  -- the rejection note that says so
    removed_at REAL
);
CREATE UNIQUE INDEX document_uid ON document (sop_instance_uid) WHERE kind <> 'original';
CREATE INDEX document_of_study ON document (study_instance_uid);
CREATE INDEX document_to_note ON document (id)
    WHERE withdrawn IS NOT NULL AND note_id IS NULL AND kind <> 'original';
CREATE INDEX document_stored ON document (made_at) WHERE removed_at IS NULL;

CREATE TABLE document_film (
    document_id INTEGER NOT NULL REFERENCES document,
    film_id INTEGER NOT NULL REFERENCES film,
    PRIMARY KEY (document_id, film_id)
) WITHOUT ROWID;
CREATE INDEX film_document ON document_film (film_id);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id INTEGER NOT NULL REFERENCES document,
    destination TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sending', 'sent', 'committed', 'cancelled')),
    rank INTEGER NOT NULL,            -- 0 results, 1 films
    urgency INTEGER NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    error TEXT,
    uncertain INTEGER NOT NULL DEFAULT 0, -- a try ended without an answer: it may have arrived
    sent_at REAL,
    commitment_uid TEXT,              -- of the transaction that asks for storage commitment
    commitment_at REAL,               -- when it was asked for
    UNIQUE (document_id, destination)
);
CREATE INDEX delivery_waiting ON delivery (destination, rank, urgency, size, id) WHERE state = 'waiting';
CREATE INDEX delivery_open ON delivery (document_id) WHERE state IN ('waiting', 'sending');
CREATE INDEX delivery_sent ON delivery (sent_at, destination, size) WHERE sent_at IS NOT NULL;
CREATE INDEX delivery_uncommitted ON delivery (destination) WHERE state = 'sent';
CREATE INDEX delivery_commitment ON delivery (commitment_uid) WHERE commitment_uid IS NOT NULL;

-- Rejection notes that the console sent (IHE RAD IOCM), and what they reject.
CREATE TABLE rejection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_sha256 TEXT NOT NULL UNIQUE,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    received_at REAL NOT NULL
);
CREATE TABLE rejected_instance (
    rejection_id INTEGER NOT NULL REFERENCES rejection,
    sop_instance_uid TEXT NOT NULL,
    awaited INTEGER NOT NULL,         -- the film has not come yet
    PRIMARY KEY (rejection_id, sop_instance_uid)
) WITHOUT ROWID;
CREATE INDEX rejected_awaited ON rejected_instance (sop_instance_uid) WHERE awaited;

-- What came and is no film that can be understood; the bytes are kept.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_sha256 TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    source TEXT NOT NULL,
    reason TEXT NOT NULL,
    received_at REAL NOT NULL,
    removed_at REAL
);

-- Files of a watched folder that were dealt with and left where they are.
CREATE TABLE seen_file (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    outcome TEXT NOT NULL
) WITHOUT ROWID;

-- Who let results out, and when: the last row counts, and only for its bundle.
CREATE TABLE mode (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    live INTEGER NOT NULL,
    bundle_sha256 TEXT NOT NULL,
    person TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL
);

-- What status and Prometheus ask several times a minute is counted as it changes: a hundred thousand
-- rows are too many to count each time.
CREATE TABLE tally (
    what TEXT NOT NULL,               -- 'film', 'result', 'study', 'delivery'; 'sent': bytes
    destination TEXT NOT NULL,        -- of deliveries, else empty
    key TEXT NOT NULL,                -- state or decision; of the others, empty
    number INTEGER NOT NULL,
    PRIMARY KEY (what, destination, key)
) WITHOUT ROWID;

CREATE TRIGGER film_counted AFTER INSERT ON film
BEGIN
    INSERT INTO tally VALUES ('film', '', NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER film_counted_anew AFTER UPDATE OF state ON film
BEGIN
    UPDATE tally SET number = number - 1
    WHERE what = 'film' AND destination = '' AND key = OLD.state;
    INSERT INTO tally VALUES ('film', '', NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER result_counted AFTER INSERT ON result
BEGIN
    INSERT INTO tally VALUES ('result', '', NEW.decision, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER study_counted AFTER INSERT ON study
BEGIN
    INSERT INTO tally VALUES ('study', '', '', 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER delivery_counted AFTER INSERT ON delivery
BEGIN
    INSERT INTO tally VALUES ('delivery', NEW.destination, NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER delivery_counted_anew AFTER UPDATE OF state ON delivery
BEGIN
    UPDATE tally SET number = number - 1
    WHERE what = 'delivery' AND destination = OLD.destination AND key = OLD.state;
    INSERT INTO tally VALUES ('delivery', NEW.destination, NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER bytes_counted AFTER UPDATE OF sent_at ON delivery WHEN NEW.sent_at IS NOT NULL
BEGIN
    INSERT INTO tally VALUES ('sent', NEW.destination, '', NEW.size)
    ON CONFLICT DO UPDATE SET number = number + excluded.number;
END;

-- What was done, chained by hashes: edge_runtime.spool.audit.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    event TEXT NOT NULL,
    facts TEXT NOT NULL,              -- JSON, keys sorted
    sha256 TEXT NOT NULL              -- of the row before and of this one
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;

-- Version 3: what is measured of films, to notice where they drift from those of the bundle.

-- One row a study, of its first film that was screened with a bundle: further views of a patient
-- are no further evidence.
CREATE TABLE drift_film (
    bundle_sha256 TEXT NOT NULL,
    number INTEGER NOT NULL,          -- 1, 2, 3, ... with this bundle
    study_instance_uid TEXT NOT NULL,
    film_id INTEGER NOT NULL REFERENCES film,
    unable INTEGER NOT NULL,
    exposure REAL,                    -- this and all below: null where the film could not be read
    contrast REAL,
    sharpness REAL,
    distance REAL,
    tumour REAL,
    at REAL NOT NULL,
    PRIMARY KEY (bundle_sha256, number),
    UNIQUE (bundle_sha256, study_instance_uid)
) WITHOUT ROWID;

-- How each block of them, 1, 2, 3, ..., compared with the reference, figure by figure.
CREATE TABLE drift_block (
    bundle_sha256 TEXT NOT NULL,
    block INTEGER NOT NULL,
    figure TEXT NOT NULL,
    p REAL NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('lower', 'higher', 'varied')),
    value_then REAL NOT NULL,         -- median, or share, of the reference
    value_now REAL NOT NULL,          -- the same of the block
    alarm_since REAL,                 -- when its first block began; null: there is no alarm
    began_at REAL NOT NULL,           -- the block
    judged_at REAL NOT NULL,
    PRIMARY KEY (bundle_sha256, block, figure)
) WITHOUT ROWID;

-- Who said that films of the unit itself are the reference from now on, and why.
CREATE TABLE drift_acceptance (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bundle_sha256 TEXT NOT NULL,
    first_block INTEGER NOT NULL,     -- of those films
    last_block INTEGER NOT NULL,
    person TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX acceptance_of_bundle ON drift_acceptance (bundle_sha256);
CREATE TRIGGER drift_acceptance_is_not_changed BEFORE UPDATE ON drift_acceptance
BEGIN SELECT RAISE(ABORT, 'acceptances are only added to'); END;
CREATE TRIGGER drift_acceptance_is_not_deleted BEFORE DELETE ON drift_acceptance
BEGIN SELECT RAISE(ABORT, 'acceptances are only added to'); END;

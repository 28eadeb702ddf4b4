-- Version 2: what people said of studies, and what of a film's header outlives its file.

-- By accession number a radiologist's read finds its study, and a nurse the patient. No name is here.
CREATE TABLE film_header (
    film_id INTEGER PRIMARY KEY REFERENCES film,
    accession_number TEXT NOT NULL,   -- this and all below: blank where the header says nothing
    patient_id TEXT NOT NULL,
    study_date TEXT NOT NULL,         -- as DICOM writes it: YYYYMMDD
    body_part TEXT NOT NULL,
    laterality TEXT NOT NULL,
    view TEXT NOT NULL
);
CREATE INDEX film_of_accession ON film_header (accession_number) WHERE accession_number <> '';
CREATE INDEX film_received ON film (received_at);
CREATE INDEX film_of_patient ON film (patient_sha256, received_at);
CREATE INDEX study_flagged ON study (study_instance_uid)
    WHERE decision IN ('urgent_review', 'routine_review');

-- What somebody said of a study: a verdict on the unit's decision, or a reading of their own.
CREATE TABLE read (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_sha256 TEXT NOT NULL UNIQUE,  -- of all that was said: said again, it is the same read
    study_instance_uid TEXT NOT NULL,     -- as it was named; blank where the accession number does
    accession_number TEXT NOT NULL,
    verdict TEXT CHECK (verdict IN ('agree', 'disagree', 'not_sure')),
    reading TEXT CHECK (reading IN ('no_tumour', 'benign', 'malignant', 'not_sure')),
    subtype TEXT NOT NULL,
    other_finding TEXT NOT NULL,
    comment TEXT NOT NULL,
    reader TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('page', 'csv', 'sr')),
    read_at REAL NOT NULL,
    entered_at REAL NOT NULL,
    CHECK ((verdict IS NULL) <> (reading IS NULL))
);
CREATE TRIGGER read_is_not_changed BEFORE UPDATE ON read
BEGIN SELECT RAISE(ABORT, 'reads are only added to'); END;
CREATE TRIGGER read_is_not_deleted BEFORE DELETE ON read
BEGIN SELECT RAISE(ABORT, 'reads are only added to'); END;

-- The study that a read is of, and what the unit had said of it then. A read without is unlinked.
CREATE TABLE read_link (
    read_id INTEGER PRIMARY KEY REFERENCES read,
    study_instance_uid TEXT NOT NULL,
    study_revision INTEGER NOT NULL,
    decision TEXT NOT NULL,
    bundle_sha256 TEXT NOT NULL,      -- blank where no film of the study told it
    linked_at REAL NOT NULL
);
CREATE INDEX read_of_study ON read_link (study_instance_uid);
CREATE TRIGGER read_link_is_not_changed BEFORE UPDATE ON read_link
BEGIN SELECT RAISE(ABORT, 'reads are only added to'); END;
CREATE TRIGGER read_link_is_not_deleted BEFORE DELETE ON read_link
BEGIN SELECT RAISE(ABORT, 'reads are only added to'); END;

-- Reads that no later one of the same reader supersedes; verdicts and readings each for themselves.
CREATE VIEW current_read AS
SELECT r.id, l.study_instance_uid, l.study_revision, l.decision, l.bundle_sha256, r.verdict,
       r.reading, r.subtype, r.other_finding, r.reader, r.source, r.read_at, r.entered_at
FROM read_link l JOIN read r ON r.id = l.read_id
WHERE NOT EXISTS (
    SELECT 1 FROM read_link m JOIN read s ON s.id = m.read_id
    WHERE m.study_instance_uid = l.study_instance_uid AND s.reader = r.reader
    AND (s.verdict IS NULL) = (r.verdict IS NULL) AND (s.read_at, s.id) > (r.read_at, r.id)
);

-- One reading a study: the newest that says whether there is a tumour, of any reader.
CREATE VIEW study_reading AS
SELECT * FROM current_read r WHERE reading IN ('no_tumour', 'benign', 'malignant') AND NOT EXISTS (
    SELECT 1 FROM current_read s WHERE s.study_instance_uid = r.study_instance_uid
    AND s.reading IN ('no_tumour', 'benign', 'malignant') AND (s.read_at, s.id) > (r.read_at, r.id)
);

-- Who said that a study needs no recall any more, and why.
CREATE TABLE recall_closure (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study_instance_uid TEXT NOT NULL,
    decision TEXT,                    -- of the unit on the study then
    person TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX closure_of_study ON recall_closure (study_instance_uid);
CREATE TRIGGER recall_closure_is_not_changed BEFORE UPDATE ON recall_closure
BEGIN SELECT RAISE(ABORT, 'closures are only added to'); END;
CREATE TRIGGER recall_closure_is_not_deleted BEFORE DELETE ON recall_closure
BEGIN SELECT RAISE(ABORT, 'closures are only added to'); END;

"""`osteoedge feedback export`: films that were read otherwise than decided, of nobody, to retrain.

A film is de-identified by the code of `osteoedge data dicom`, and with the same key gets the same
pseudonyms. A reading is of a study: its films get its label, unless it is of a tumour and they show
several parts of the body, of which nobody said which one has it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import edge_runtime
from edge_runtime.dataset_folder import DatasetCard, DatasetFolder, Row
from edge_runtime.deidentify.dataset_film import dataset_film
from edge_runtime.deidentify.secret import Secret, open_secret
from edge_runtime.errors import (
    ConfigError,
    FeedbackError,
    NotARadiographError,
    OsteoedgeError,
    RadiographError,
)
from edge_runtime.feedback.decided import FLAGGED
from edge_runtime.feedback.headers import keep_missing_headers
from edge_runtime.feedback.reads import link_reads
from edge_runtime.spool import Spool
from edge_runtime.spool.audit import record

KEY = "feedback.key"
"""In the spool's folder: what pseudonyms and moved days are made with."""

LICENCE = "local use only: the hospital that holds the films has stated no other"
REFERENCE = "radiologist read"


@dataclass
class Exported:
    """What came of an export.

    Attributes
    ----------
    films
        Rows of radiographs.csv.
    gone
        Films that were read and whose files the unit has deleted since.
    look_at
        Image ID -> why its picture may show text, such as a name.
    failures
        One for each film or study that was left out.
    """

    films: int = 0
    gone: int = 0
    look_at: dict[str, str] = field(default_factory=dict)
    failures: list[OsteoedgeError] = field(default_factory=list)


def export_reads(
    spool: Spool,
    out: Path,
    *,
    all_read: bool = False,
    key_file: Path | None = None,
    licence: str = LICENCE,
) -> Exported:
    """Write films with their readings as a dataset folder; an earlier export there is brought up.

    Parameters
    ----------
    out
        New, empty, or of an earlier export of this unit with the same key.
    all_read
        Also films of studies that were read as they were decided.
    key_file
        The hospital's key, made where it is absent; None for the unit's own, in the spool.
    licence
        For dataset.toml.

    Raises
    ------
    ConfigError
        The folder or the key cannot be used.
    """
    if out.resolve().is_relative_to(spool.folder.resolve()):
        raise ConfigError("lies in the spool", "Name a folder outside of it", str(out))
    keep_missing_headers(spool)
    link_reads(spool)
    secret = open_secret(key_file or spool.folder / KEY, out)
    result = Exported()
    rows: list[Row] = []
    identity = f"{secret.fingerprint} {edge_runtime.__version__}"
    with DatasetFolder(out, "feedback", identity) as folder:
        for study, films in _read_studies(spool, all_read=all_read).items():
            parts = {(film["body_part"], film["laterality"]) for film in films}
            if len(parts) > 1 and films[0]["reading"] != "no_tumour":
                result.failures.append(
                    FeedbackError(
                        "was read as a tumour, and its films show several parts of the body",
                        "Label its films one by one with 'osteoedge data dicom'",
                        study,
                    )
                )
                continue
            for film in films:
                if film["removed_at"] is not None:
                    result.gone += 1
                    continue
                try:
                    rows.append(_row(spool, folder, secret, film, result))
                except RadiographError as error:
                    result.failures.append(error)
        card = DatasetCard(
            name=out.resolve().name,
            source=f"films of a unit with radiologists' reads, de-identified by osteoedge "
            f"{edge_runtime.__version__} (DICOM PS3.15 Annex E)",
            licence=licence,
            may_ship_weights=False,
            synthetic=False,
        )
        result.films = folder.finish(rows, card)
    with spool.transaction() as execute:
        record(
            execute, spool.now(), "reads exported", films=result.films, all_read=all_read,
            key=secret.fingerprint,
        )  # fmt: skip
    return result


def _read_studies(spool: Spool, *, all_read: bool) -> dict[str, list[sqlite3.Row]]:
    """Return the films of studies that were read, by study."""
    differing = f"AND (r.reading <> 'no_tumour') <> (r.decision IN {FLAGGED})"
    studies: dict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in spool.rows(
        "SELECT r.study_instance_uid, r.reading, r.subtype, r.other_finding, f.sop_instance_uid, "
        "f.path, f.removed_at, COALESCE(h.body_part, '') AS body_part, "
        "COALESCE(h.laterality, '') AS laterality "
        "FROM study_reading r JOIN film f ON f.study_instance_uid = r.study_instance_uid "
        "LEFT JOIN film_header h ON h.film_id = f.id "
        "WHERE f.state NOT IN ('superseded', 'withdrawn') "
        f"{'' if all_read else differing} ORDER BY f.id"
    ):
        studies[row["study_instance_uid"]].append(row)
    return studies


def _row(
    spool: Spool, folder: DatasetFolder, secret: Secret, film: sqlite3.Row, result: Exported
) -> Row:
    """Store a film, or take over what an earlier export made of it; return its row."""
    image_id = f"F{secret.name('film', film['sop_instance_uid'])}"
    try:
        data = (spool.folder / film["path"]).read_bytes()
    except OSError as error:
        raise NotARadiographError(
            f"cannot be read ({error.strerror})", "Check the disk", film["path"]
        ) from None
    key = secret.name("content", hashlib.sha256(data).hexdigest())
    stored = folder.stored(key)
    if stored is None:
        made = dataset_film(data, secret, film["path"])
        facts = {"columns": made.columns, "burned_in": made.burned_in}
        stored = folder.store(key, image_id, made.data, ".dcm", facts=facts)
    if stored.facts["burned_in"]:
        result.look_at[image_id] = str(stored.facts["burned_in"])
    return {
        "image_id": image_id,
        "centre": "1",
        "label": film["reading"],
        "subtype": film["subtype"],
        "other_finding": film["other_finding"],
        "path": stored.path,
        "reference_standard": REFERENCE,
        **stored.facts["columns"],
    }

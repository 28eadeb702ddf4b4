"""`osteoedge data dicom`: a hospital's own films and labels -> a de-identified dataset folder."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from rich.progress import Progress

import edge_runtime
from edge_runtime.dataset_folder import (
    DatasetCard,
    DatasetFolder,
    ImportResult,
    Mask,
    Row,
    StoredFilm,
    mask_fraction,
)
from edge_runtime.deidentify.dataset_film import dataset_film
from edge_runtime.deidentify.film import Touched
from edge_runtime.deidentify.secret import Secret, open_secret
from edge_runtime.errors import (
    ConfigError,
    DatasetError,
    NotARadiographError,
    OsteoedgeError,
    RadiographError,
    UnsupportedRadiographError,
)
from edge_runtime.label_map import LabelMap, load_label_map
from edge_runtime.radiograph import RADIOGRAPH_MODALITIES
from train.dataset.importers.deidentification_report import write_report
from train.dataset.importers.label_rows import (
    FoundFilm,
    LabelRow,
    match,
    read_label_rows,
)
from train.dataset.importers.pictures import read_bytes

_INDEX_TAGS = [
    "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "Modality",
    "BodyPartExamined", "ImageLaterality", "Laterality",
]  # fmt: skip
SOURCE = "a hospital's own films, de-identified by osteoedge {} (DICOM PS3.15 Annex E)"
LICENCE = "not stated: for use inside the hospital that holds the films"


@dataclass(frozen=True)
class DicomSource:
    """What is imported, and how its words are understood.

    Attributes
    ----------
    folder
        Holds the DICOM files, at any depth.
    labels
        The CSV (see :mod:`.label_rows`); paths in its column `mask` are relative to it.
    map_file
        A label map of the hospital's own, or None.
    key_file
        The hospital's key, made where it is absent; None for OUT.key beside the dataset folder.
    """

    folder: Path
    labels: Path
    map_file: Path | None = None
    key_file: Path | None = None


def import_dicom(source: DicomSource, out: Path, progress: Progress) -> ImportResult:
    """Import films: match them to labels, de-identify them, write folder and report.

    Returns
    -------
    ImportResult
        Files that are no films or cannot be read, and lines that fit no film, are failures; the
        rest is imported. Films that no line names are left out and counted in the notes.

    Raises
    ------
    ConfigError
        The labels, the map or the key cannot be used, or ``out`` holds something else.
    """
    if not source.folder.is_dir():
        raise ConfigError("no such folder", "Name the folder of the films", str(source.folder))
    if out.resolve().is_relative_to(source.folder.resolve()):
        raise ConfigError(
            "the output would lie among the original films", "Name another folder", str(out)
        )
    label_map = load_label_map(source.map_file)
    table = read_label_rows(source.labels, label_map)
    label_map.require((word for row in table.rows for word in row.words), source.labels.name)
    place = out.resolve()
    key_file = source.key_file or place.with_name(f"{place.name}.key")
    result = ImportResult()
    if not key_file.exists():
        result.notes.append(
            f"a new secret key is in {key_file}: keep it, and never beside a copy of the dataset"
        )
    secret = open_secret(key_file, out)
    if table.unused:
        result.notes.append(
            f"columns of {source.labels.name} that were not used: {', '.join(table.unused)}"
        )
    films = _scan(source.folder, result, progress)
    matched = match(table.rows, films, source.labels.name)
    result.failures.extend(matched.failures)
    unnamed = len(films) - len(matched.films)
    if unnamed:
        result.notes.append(f"films left out because no line of the labels names them: {unnamed}")
    identity = f"{secret.fingerprint} {edge_runtime.__version__}"
    with DatasetFolder(out, "dicom", identity) as folder:
        importer = _Importer(folder, secret, label_map, source.labels.parent)
        task = progress.add_task("de-identify", total=len(matched.films))
        for film in films:
            if film.path in matched.films:
                try:
                    importer.film(film, matched.films[film.path])
                except (RadiographError, DatasetError) as error:
                    result.failures.append(error)
                progress.advance(task)
        result.films = folder.finish(importer.rows, _card(label_map, place.name))
        if result.films:
            write_report(out, importer.touched, importer.burned_in, result.films)
    result.notes.extend(importer.notes())
    return result


class _Importer:
    """Takes one film after the other into the folder."""

    def __init__(
        self, folder: DatasetFolder, secret: Secret, label_map: LabelMap, mask_root: Path
    ) -> None:
        self.rows: list[Row] = []
        self.touched: Touched = Counter()
        self.burned_in: dict[str, str] = {}
        self._folder = folder
        self._secret = secret
        self._map = label_map
        self._mask_root = mask_root
        self._without_patient = 0

    def film(self, film: FoundFilm, row: LabelRow) -> None:
        """Import one film, or take over what an earlier run made of it."""
        meaning = self._map.meaning(row.words, f"{film.file} (line {row.line})")
        data = read_bytes(film.path, film.file)
        mask_file = self._mask_root / row.facts["mask"] if "mask" in row.facts else None
        mask_data = read_bytes(mask_file, row.facts["mask"]) if mask_file else b""
        key = self._secret.name(
            "content", hashlib.sha256(data).hexdigest() + hashlib.sha256(mask_data).hexdigest()
        )
        name = film.sop_instance_uid or hashlib.sha256(data).hexdigest()
        image_id = f"F{self._secret.name('film', name)}"
        stored = self._folder.stored(key)
        if stored is None:
            stored = self._store(key, image_id, film, data, mask_file, mask_data)
        fraction = str(stored.facts["mask_fraction"])
        if fraction and (meaning.label == "no_tumour") == (float(fraction) > 0) and meaning.label:
            raise DatasetError(
                f"its label is {meaning.label} and its mask is "
                + ("not empty" if float(fraction) > 0 else "empty"),
                "Correct the label or the mask",
                f"{film.file} (line {row.line})",
            )
        self._take(stored, image_id)
        self._without_patient += not film.patient_id
        self.rows.append(
            {
                "image_id": image_id,
                "centre": row.facts.get("centre", "1"),
                "label": meaning.label,
                "subtype": meaning.subtype,
                "other_finding": meaning.other_finding,
                "path": stored.path,
                "mask_fraction": fraction,
                **stored.facts["columns"],
                **{
                    column: value
                    for column, value in row.facts.items()
                    if column not in ("mask", "centre")
                },
            }
        )

    def notes(self) -> Iterator[str]:
        """Say what a person should look at."""
        if self.burned_in:
            yield (
                f"films that may show text in the picture: {len(self.burned_in)} of "
                f"{len(self.rows)} (named in deidentification.html); look at them before the "
                "folder leaves the hospital"
            )
        if self._without_patient:
            yield (
                f"films without a Patient ID: {self._without_patient}; each study counts as a "
                "patient of its own, and splits cannot keep such patients together"
            )

    def _store(
        self,
        key: str,
        image_id: str,
        film: FoundFilm,
        data: bytes,
        mask_file: Path | None,
        mask_data: bytes,
    ) -> StoredFilm:
        made = dataset_film(data, self._secret, film.file)
        mask = _decode_mask(mask_data, made.shape, mask_file.name) if mask_file else None
        facts: dict[str, Any] = {
            "columns": made.columns,
            "mask_fraction": "" if mask is None else mask_fraction(mask),
            "touched": [[*what, count] for what, count in sorted(made.touched.items())],
            "burned_in": made.burned_in,
        }
        return self._folder.store(key, image_id, made.data, ".dcm", mask=mask, facts=facts)

    def _take(self, stored: StoredFilm, image_id: str) -> None:
        for tag, keyword, action, count in stored.facts["touched"]:
            self.touched[tag, keyword, action] += count
        if stored.facts["burned_in"]:
            self.burned_in[image_id] = stored.facts["burned_in"]


def _card(label_map: LabelMap, name: str) -> DatasetCard:
    words = label_map.dataset
    return DatasetCard(
        name=words.name or name,
        source=words.source or SOURCE.format(edge_runtime.__version__),
        licence=words.licence or LICENCE,
        may_ship_weights=words.may_ship_weights,
        synthetic=False,
    )


def _scan(folder: Path, result: ImportResult, progress: Progress) -> list[FoundFilm]:
    """Read the header of every file; name those that hold no film, and those that are there twice.

    DICOMDIR, the index of an exported medium (PS3.10 8.6), is no input.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name.upper() != "DICOMDIR"
    )
    films: list[FoundFilm] = []
    for path in progress.track(paths, description="read headers"):
        try:
            films.append(_index_film(path, path.relative_to(folder).as_posix()))
        except OsteoedgeError as error:
            result.failures.append(error)
    return _without_copies(films, result)


def _index_film(path: Path, file: str) -> FoundFilm:
    no_dicom = NotARadiographError("not a DICOM file", "Leave it out", file)
    header: Dataset | None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_INDEX_TAGS)
    except InvalidDicomError:
        # Some units write the data set without its preamble and file meta information.
        header = _forced(path)
        if header is None:
            raise no_dicom from None
    except Exception as error:
        # pydicom raises whatever the parser trips over.
        raise NotARadiographError(
            f"its header cannot be read ({type(error).__name__})", "Export the film again", file
        ) from None
    values = {keyword: _text(header, keyword) for keyword in _INDEX_TAGS}
    # A secondary capture (OT, SC) may be a film that was digitized; its pixels are checked later.
    if values["Modality"] not in {*RADIOGRAPH_MODALITIES, "OT", "SC", ""}:
        raise UnsupportedRadiographError(
            f"modality {values['Modality']}, not a radiograph",
            "Leave it out: plain films only (CR, DX, RG)",
            file,
        )
    return FoundFilm(
        path=path,
        file=file,
        sop_instance_uid=values["SOPInstanceUID"],
        study_instance_uid=values["StudyInstanceUID"],
        accession_number=values["AccessionNumber"],
        patient_id=values["PatientID"],
        part=" ".join(
            filter(
                None,
                (values["BodyPartExamined"], values["ImageLaterality"] or values["Laterality"]),
            )
        ),
    )


def _forced(path: Path) -> Dataset | None:
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID", *_INDEX_TAGS]
        )
        return header if _text(header, "SOPClassUID").startswith("1.2.840.10008.") else None
    except Exception:
        # As above; bytes that are no DICOM fail in any way.
        return None


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
    except Exception:
        # A value that contradicts its VR.
        return ""
    return str(value).strip() if value is not None else ""


def _without_copies(films: Sequence[FoundFilm], result: ImportResult) -> list[FoundFilm]:
    """Keep one of files that are the same; where only the SOP Instance UID is, keep none."""
    by_uid: dict[str, list[FoundFilm]] = defaultdict(list)
    for film in films:
        by_uid[film.sop_instance_uid or film.file].append(film)
    kept, copies = [], 0
    for same in by_uid.values():
        # One file needs no comparison, and reading all of them would take long.
        contents = (
            {hashlib.sha256(read_bytes(film.path, film.file)).digest() for film in same}
            if len(same) > 1
            else set()
        )
        if len(contents) > 1:
            for film in same:
                others = ", ".join(other.file for other in same if other is not film)
                result.failures.append(
                    DatasetError(
                        f"has the SOP Instance UID of {others} and other content",
                        "Keep the one that counts",
                        film.file,
                    )
                )
            continue
        kept.append(same[0])
        copies += len(same) - 1
    if copies:
        result.notes.append(f"files left out because they are copies of others: {copies}")
    return kept


def _decode_mask(data: bytes, shape: tuple[int, int], name: str) -> Mask:
    """Return a mask of 0 and 255 whether it was drawn as 0 and 1 or as 0 and 255."""
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if drawn is None:
        raise DatasetError("the mask is no picture", "Write it as PNG", name)
    if drawn.shape != shape:
        raise DatasetError(
            f"the mask has {drawn.shape[1]} x {drawn.shape[0]} pixels, its film "
            f"{shape[1]} x {shape[0]}",
            "Draw the mask on the film at its own size",
            name,
        )
    two_values = len(np.unique(drawn)) <= 2
    return np.where(drawn > (0 if two_values else 127), 255, 0).astype(np.uint8)

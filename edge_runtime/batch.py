"""Screen many files: one result or one error each, and nothing stops the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge_runtime.errors import NotARadiographError, RadiographError, ResultError
from edge_runtime.files import write_atomically
from edge_runtime.phrases import percent
from edge_runtime.policy import Language
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import Radiograph, find_radiographs, read_header, read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.reports.overlay import activation_png, mask_png, overlay_png
from edge_runtime.screener import Screener, source_of
from edge_runtime.screening import STANDING_SENTENCE, Screening

DICOM_FORMATS = ("sr", "sc", "seg")
FORMATS = ("json", "png", "mask", "cam", *DICOM_FORMATS)


@dataclass(frozen=True)
class ScreenedFile:
    """What came of one file.

    Attributes
    ----------
    stem
        The name, without suffix, under which results were written.
    screening
        None where the file is no image, or not there.
    error
        Why it could not be read; the screening is `unable` then. Or, of :class:`ResultError`, why
        it has no result as DICOM.
    written
        Names of the files that hold the results.
    """

    stem: str
    screening: Screening | None
    error: RadiographError | ResultError | None = None
    written: tuple[str, ...] = ()

    def summary(self, language: Language) -> tuple[str, ...]:
        """Return the preliminary summary, line by line; none where there is no screening."""
        if self.screening is None or self.screening.summary is None:
            return ()
        return self.screening.summary.text[language]


def screen_files(
    paths: Sequence[Path],
    screener: Screener,
    out: Path,
    formats: Sequence[str],
    language: Language,
    *,
    progress: bool,
) -> Iterator[ScreenedFile]:
    """Screen files and folders, writing results into ``out`` as they are made.

    Parameters
    ----------
    formats
        Of :data:`FORMATS`. A film that could not be read has no picture, one without a mask or a
        map none of those, and a PNG or JPEG film nothing as DICOM.
    language
        Of the summary in the structured report; the JSON document has it in all of them.

    Raises
    ------
    DelegateError
        Nothing is left that runs the model; films that were not yet done can be given again.
    """
    files: list[Path | RadiographError] = []
    for path in paths:
        files.extend(_expand(path))
    taken: Counter[str] = Counter()
    spec = screener.bundle.manifest.input_spec
    for file in track(
        files, "Screening", console=Console(stderr=True), disable=not progress, transient=True
    ):
        if isinstance(file, RadiographError):
            yield ScreenedFile("", None, file)
            continue
        pictures: dict[str, bytes] = {}
        radiograph = failure = None
        try:
            radiograph = read_radiograph(file)
        except NotARadiographError as error:
            yield ScreenedFile(file.stem, None, error)
            continue
        except RadiographError as error:
            failure = error
            try:
                screening = screener.refuse(error, source_of(file))
            except OSError:
                yield ScreenedFile(file.stem, None, error)
                continue
        else:
            screening = screener.screen(radiograph)
            pictures = dict(_pictures(radiograph, screening, spec, formats))
        document = {".json": screening_json(screening)} if "json" in formats else {}
        objects, missing = _objects(file, radiograph, screening, spec, formats, language)
        # Pictures last: the picture is what a person wants to look at.
        results = {**document, **objects, **pictures}
        taken[file.stem] += 1
        # Films of two folders may share a name: neither result may overwrite the other.
        stem = file.stem if taken[file.stem] == 1 else f"{file.stem}-{taken[file.stem]}"
        for suffix, content in results.items():
            write_atomically(out / f"{stem}{suffix}", content)
        written = tuple(f"{stem}{suffix}" for suffix in results)
        yield ScreenedFile(stem, screening, failure or missing, written)


def _pictures(
    radiograph: Radiograph, screening: Screening, spec: InputSpec, formats: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the ending of each picture's name, and the picture."""
    if "mask" in formats and screening.mask is not None:
        yield ".mask.png", mask_png(radiograph, screening.mask, spec)
    if "cam" in formats and screening.activation is not None:
        yield ".cam.png", activation_png(radiograph, screening, spec)
    if "png" in formats:
        yield ".png", overlay_png(radiograph, screening, spec)


def _objects(
    file: Path,
    radiograph: Radiograph | None,
    screening: Screening,
    spec: InputSpec,
    formats: Sequence[str],
    language: Language,
) -> tuple[dict[str, bytes], ResultError | None]:
    """Return the DICOM results by the ending of their name, and why there are none."""
    asked = [name for name in DICOM_FORMATS if name in formats]
    if not asked:
        return {}, None
    # highdicom takes a second to load, and JSON and pictures do not need it.
    from edge_runtime.reports.film import film_objects

    try:
        header = read_header(file)
        return dict(film_objects(header, radiograph, screening, spec, asked, language)), None
    except RadiographError as error:
        what = f"{error.what}, which {', '.join(asked)} cannot do without"
        return {}, ResultError(what, "Screen the film as DICOM, or write json and png", file.name)
    except ResultError as error:
        return {}, error


def summary_table(results: Sequence[ScreenedFile], purpose: str) -> Table:
    """Return what a person wants to see of a batch."""
    synthetic = ", SYNTHETIC: model trained on drawings" if purpose == "demo" else ""
    table = Table(title=f"{STANDING_SENTENCE}{synthetic}", title_justify="left")
    for heading in ("film", "decision", "tumour", "malignant", "lesions", "ms"):
        table.add_column(heading, justify="left" if heading in {"film", "decision"} else "right")
    for result in results:
        document = result.screening
        if document is None:
            continue
        figures = ("", "", "")
        if document.probabilities is not None and document.tumour_probability is not None:
            figures = (
                percent(document.tumour_probability),
                percent(document.probabilities["malignant"]),
                str(len(document.lesions)),
            )
        table.add_row(
            result.stem,
            document.decision.replace("_", " "),
            *figures,
            f"{document.timings_ms['total']:.0f}",
        )
    return table


def _expand(path: Path) -> list[Path | RadiographError]:
    if not path.is_dir():
        return [path]
    found = find_radiographs(path)
    if not found:
        return [NotARadiographError.because("empty_folder", str(path))]
    return list(found)

"""Screen many files: one result or one error each, and nothing stops the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge_runtime.errors import NotARadiographError, RadiographError
from edge_runtime.files import write_atomically
from edge_runtime.radiograph import looks_like_radiograph, read_radiograph
from edge_runtime.reports.document import screening_json
from edge_runtime.reports.overlay import overlay_png
from edge_runtime.screener import STANDING_SENTENCE, Screener, Screening


@dataclass(frozen=True)
class ScreenedFile:
    """A screening and the name, without suffix, under which its results were written."""

    stem: str
    screening: Screening


def screen_files(
    paths: Sequence[Path],
    screener: Screener,
    out: Path,
    formats: Sequence[str],
    *,
    progress: bool,
) -> Iterator[ScreenedFile | RadiographError]:
    """Screen files and folders, writing `json` and `png` results into ``out`` as they are made."""
    files: list[Path | RadiographError] = []
    for path in paths:
        files.extend(_expand(path))
    taken: Counter[str] = Counter()
    for file in track(
        files, "Screening", console=Console(stderr=True), disable=not progress, transient=True
    ):
        if isinstance(file, RadiographError):
            yield file
            continue
        try:
            radiograph = read_radiograph(file)
        except RadiographError as error:
            yield error
            continue
        screening = screener.screen(radiograph)
        taken[file.stem] += 1
        # Films of two folders may share a name: neither result may overwrite the other.
        stem = file.stem if taken[file.stem] == 1 else f"{file.stem}-{taken[file.stem]}"
        if "png" in formats:
            spec = screener.bundle.manifest.input_spec
            write_atomically(out / f"{stem}.png", overlay_png(radiograph, screening, spec))
        if "json" in formats:
            write_atomically(out / f"{stem}.json", screening_json(screening))
        yield ScreenedFile(stem, screening)


def summary_table(results: Sequence[ScreenedFile], purpose: str) -> Table:
    """Return what a person wants to see of a batch."""
    synthetic = ", SYNTHETIC: model trained on drawings" if purpose == "demo" else ""
    table = Table(title=f"{STANDING_SENTENCE}{synthetic}", title_justify="left")
    for heading in ("film", "decision", "tumour", "malignant", "lesions", "ms"):
        table.add_column(heading, justify="left" if heading in {"film", "decision"} else "right")
    for result in results:
        document = result.screening
        probabilities = document.probabilities or {}
        table.add_row(
            result.stem,
            document.decision.replace("_", " "),
            f"{document.tumour_probability:.2f}",
            f"{probabilities['malignant']:.2f}",
            str(len(document.lesions)),
            f"{document.timings_ms['total']:.0f}",
        )
    return table


def _expand(path: Path) -> list[Path | RadiographError]:
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not file.name.startswith(".") and looks_like_radiograph(file)
    )
    if not found:
        return [
            NotARadiographError(
                "no DICOM, PNG or JPEG file in this folder",
                "Name a folder that holds radiographs",
                str(path),
            )
        ]
    return list(found)

"""What an environment holds, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.table import Table

from benchmarks.environment.installed import Environment, canonical

# Smaller libraries are counted, and listed with --json.
_LISTED_MB = 1.0


def tables(found: Environment) -> Iterator[Table]:
    """Return what was found as tables for people; MB are millions of bytes."""
    title = (
        f"{_mb(found.total_bytes)} MB for {', '.join(found.platforms) or 'any machine'}, of these "
        f"{_mb(found.bytecode_bytes)} MB .pyc"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "distribution",
        "version",
        "MB",
        ".pyc",
        "licence of its own code",
        "comes with",
    ):
        table.add_column(heading, justify="right" if heading in ("MB", ".pyc") else "left")
    required = {part.name for part in found.requirements}
    for part in found.installed:
        itself = canonical(part.name) in required
        comes_with = "required" if itself else ", ".join(part.needed_for)
        table.add_row(part.name, part.version, _mb(part.bytes_), _mb(part.bytecode_bytes),
                      part.licence, comes_with)  # fmt: skip
    yield table

    table = Table(title="What would go without a requirement", title_justify="left")
    table.add_column("requirement")
    table.add_column("MB", justify="right")
    for need in found.requirements:
        table.add_row(need.name, _mb(need.alone_bytes))
    yield table

    large = [library for library in found.libraries if library.bytes_ >= _LISTED_MB * 1e6]
    rest = found.libraries[len(large) :]
    table = Table(title="Shared libraries inside wheels", title_justify="left")
    for heading in ("library", "of", "MB", "licence files that name it"):
        table.add_column(heading, justify="right" if heading == "MB" else "left")
    for library in large:
        where = "\n".join(library.named_in) or "none"
        table.add_row(library.name, library.distribution, _mb(library.bytes_), where)
    table.add_row(f"{len(rest)} smaller ones", "", _mb(sum(r.bytes_ for r in rest)), "--json")
    yield table

    table = Table(title="Copyleft", title_justify="left")
    for heading in ("licence", "covers", "of", "where it is written"):
        table.add_column(heading)
    for (distribution, licence, covers, what, where), same in groupby(
        found.copyleft, key=lambda f: (f.distribution, f.licence, f.covers, f.what, f.where)
    ):
        files = ", ".join(finding.file for finding in same if finding.file)
        of = f"{distribution}: {what}" + (f" ({files})" if files else "")
        table.add_row(licence, covers, of, where)
    yield table


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"

"""All checks of a dataset, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.progress import Progress

from edge_runtime.errors import GateError, OsteoedgeError
from train.dataset.check.composition import Row, composition, table_findings
from train.dataset.check.duplicates import Pair, find_duplicates
from train.dataset.check.films import Films, read_films
from train.dataset.check.findings import SEVERITIES, Finding
from train.dataset.check.giveaways import (
    ColumnResult,
    Untested,
    column_findings,
    score_columns,
    tested_columns,
    untested_columns,
)
from train.dataset.check.groups import patient_groups
from train.dataset.check.probes import PROBES, ProbeResult, probe_findings, probe_pixels
from train.dataset.check.separability import questions
from train.dataset.check.splits import Overlap, Split, find_splits, overlaps, split_findings
from train.dataset.schema import Dataset
from train.progress import counting


@dataclass(frozen=True)
class CheckResult:
    """What was found, and every figure behind it.

    Attributes
    ----------
    findings
        Leaks first, then warnings, then what is worth knowing.
    groups
        (n,) the group of every film that no split may separate.
    """

    dataset: Dataset
    films: Films
    findings: tuple[Finding, ...]
    splits: tuple[Split, ...]
    overlaps: tuple[Overlap, ...]
    pairs: tuple[Pair, ...]
    groups: pd.Series
    columns: tuple[ColumnResult, ...]
    untested: tuple[Untested, ...]
    probes: tuple[ProbeResult, ...]
    composition: tuple[Row, ...]

    @property
    def errors(self) -> tuple[OsteoedgeError, ...]:
        """What was wrong with the films that cannot be read."""
        return self.films.errors

    def refuse_leaks(self) -> None:
        """Raise where a split leaks.

        Raises
        ------
        GateError
            Names the splits.
        """
        leaks = [finding for finding in self.findings if finding.severity == "leak"]
        if leaks:
            raise GateError(
                f"a split leaks: {leaks[0].what}", leaks[0].remedy, self.dataset.card.name
            )


def check_dataset(dataset: Dataset, split: str | None, progress: Progress) -> CheckResult:
    """Run every check.

    Parameters
    ----------
    split
        A column, a run folder or a split table; None checks every column named ...split.

    Raises
    ------
    ConfigError, DatasetError
        ``split`` names nothing, or the split of other films.
    """
    table = dataset.films
    splits = find_splits(dataset, split)
    films = read_films(dataset, counting(progress, "read films", len(table)))
    pairs = find_duplicates(films, counting(progress, "compare films"))
    groups = patient_groups(table, pairs)
    asked_of_all = questions(table, groups, np.ones(len(table), bool))
    asked_of_pixels = questions(table, groups, films.readable)
    probing = progress.add_task(
        "test columns and pixels",
        total=len(tested_columns(table)) + PROBES * len(asked_of_pixels),
    )
    columns = score_columns(table, asked_of_all, lambda: progress.advance(probing))
    probes = probe_pixels(films, asked_of_pixels, lambda: progress.advance(probing))
    findings = [finding for each in splits for finding in split_findings(each, table, pairs)]
    findings += table_findings(table, films, pairs)
    findings += column_findings(columns) + probe_findings(probes)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return CheckResult(
        dataset=dataset,
        films=films,
        findings=tuple(findings),
        splits=tuple(splits),
        overlaps=tuple(overlap for each in splits for overlap in overlaps(each, table)),
        pairs=tuple(pairs),
        groups=groups,
        columns=tuple(columns),
        untested=tuple(untested_columns(table)),
        probes=tuple(probes),
        composition=tuple(composition(table)),
    )

"""The model card: what a bundle is for, what it was made from, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from edge_runtime.bundle import LABELS, Fitness, Manifest
from edge_runtime.screening import STANDING_SENTENCE
from export.bounds import MALIGNANT_PATIENTS
from train.dataset.ages import age_bands
from train.dataset.split import PARTS
from train.evaluate.resampling import Metric
from train.evaluate.strata import Stratum

# Rows of the card, of the metrics that evaluation has.
_METRICS = {
    "auc_macro": "AUC, mean of the three classes",
    "auc_tumour": "AUC, tumour or none",
    "auc_malignant": "AUC, malignant or not",
    "spec_at_sens90": "specificity at sensitivity 0.90, tumour or none",
    "dice_tumour": "Dice of tumours",
    "false_mask_rate": "films without tumour on which a lesion is drawn",
    "ece": "calibration error",
}
_QUANTIZED = ("auc_macro", "auc_malignant", "malignant_referred", "dice_tumour", "ece")
_FITNESS = "\n\n## Fitness\n\n"
_FACTS = ("centre", "sex", "region", "view")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#111;background:#fff}table{border-collapse:collapse;margin:1rem 0}"
    "td,th{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}th:empty{display:none}"
)


class _Interval(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True)
class Evidence:
    """What the card says beside the manifest.

    Attributes
    ----------
    films
        All films of the run, with the column `part`.
    metrics, strata
        Of the int8 file on the calibration films.
    """

    films: pd.DataFrame
    metrics: dict[str, Metric]
    strata: Sequence[Stratum]
    model_bytes: int


def write_card(manifest: Manifest, evidence: Evidence) -> str:
    """Return the card in Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals.update(interval=_interval, signed=_signed)
    card = environment.get_template("card.md.j2").render(
        manifest=manifest,
        sentence=STANDING_SENTENCE,
        labels=LABELS,
        model_bytes=evidence.model_bytes,
        parts=[_part(evidence.films, part) for part in PARTS],
        compositions=_compositions(evidence.films[evidence.films["part"] == "train"]),
        metrics=[
            (words, _interval(evidence.metrics[name]))
            for name, words in _METRICS.items()
            if evidence.metrics[name].value is not None
        ],
        strata=[row for row in evidence.strata if row.column != "view"],
        quantized=_QUANTIZED,
        malignant_patients=MALIGNANT_PATIENTS,
    )
    return with_fitness(card, manifest.fitness)


def with_fitness(card: str, fitness: Fitness) -> str:
    """Return a card with its last section, on fitness, written or written anew."""
    body = card.partition(_FITNESS)[0].rstrip("\n")
    if fitness.status == "research":
        text = "Research: not shown to meet any bounds. A unit runs it in shadow mode only.\n"
    else:
        where = f", {fitness.where}" if fitness.where else ""
        rows = "".join(
            f"| {check.name} | {check.bound:g} | {check.found:.4g} |\n"
            for check in fitness.bounds
            if check.found is not None
        )
        text = (
            f"Evaluated: met these bounds on {fitness.dataset}{where} "
            f"(SHA-256 {str(fitness.dataset_sha256)[:16]}).\n\n"
            f"| figure | bound | found |\n|---|---|---|\n{rows}"
        )
    return f"{body}{_FITNESS}{text}"


def to_page(card: str, title: str) -> str:
    """Return a card, or a report in Markdown, as one HTML page that needs nothing beside it."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(card)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n"
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
        f"{body}</html>\n"
    )


def _part(films: pd.DataFrame, part: str) -> dict[str, object]:
    own = films[films["part"] == part]
    counts = own["label"].value_counts()
    return {
        "part": part,
        "labels": {label: int(counts.get(label, 0)) for label in LABELS},
        "unknown": int(own["label"].isna().sum()),
        "films": len(own),
        "patients": int(own["patient_id"].nunique()),
    }


def _compositions(films: pd.DataFrame) -> list[dict[str, object]]:
    facts = {name: films[name] for name in _FACTS if name in films.columns}
    if "age" in films.columns:
        facts["age"] = age_bands(films["age"]).astype(object)
    tables: list[dict[str, object]] = []
    for name, values in facts.items():
        if values.notna().any():
            counts = values.fillna("not stated").astype(str).value_counts().sort_index()
            tables.append({"name": name, "counts": list(counts.items())})
    return tables


def _interval(figure: _Interval | None) -> str:
    if figure is None or figure.value is None:
        return ""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _signed(figure: _Interval | None) -> str:
    if figure is None or figure.value is None:
        return ""
    return f"{figure.value:+.4f} ({figure.low:+.4f} to {figure.high:+.4f})"

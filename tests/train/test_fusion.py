"""The weighing of the heads: what it recovers, what it never does, and the evidence it weighs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_runtime.bundle import Fusion
from edge_runtime.decision import (
    Evidence,
    average_mirrored,
    class_logits,
    lesion_evidence,
    softmax,
    subtype_logits,
    weigh,
)
from train.evaluate.metrics import macro_auc
from train.fusion import fit_fusion, fused_auc, fused_probabilities
from train.model.heads import attended_logits

FloatArray = npt.NDArray[np.float32]


def outputs_of(evidence: Evidence) -> dict[str, FloatArray]:
    """Maps with the given evidence; two subtypes, of which the second is malignant."""
    malignancy = evidence.malignancy[:, np.newaxis, np.newaxis, np.newaxis]
    return {
        "cam": np.tile(evidence.classes[:, np.newaxis, np.newaxis], (1, 2, 2, 1)),
        "mask": np.tile(evidence.lesion[:, np.newaxis, np.newaxis, np.newaxis], (1, 8, 8, 1)),
        "subtype": np.tile(np.concatenate([-malignancy, malignancy], 3) / 2.0, (1, 2, 2, 1)),
    }


def drawn(truth: Fusion, count: int = 6000) -> tuple[dict[str, FloatArray], npt.NDArray[np.int32]]:
    """Films whose labels follow a fusion."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, 3)).astype(np.float32)
    evidence = rng.normal(-5, 2.0, count).astype(np.float32)
    malignancy = np.random.default_rng(1).normal(0.5, 2.0, count).astype(np.float32)
    drawn = Evidence(logits, evidence, malignancy)
    chances = softmax(class_logits(drawn, truth))
    labels = (rng.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1).astype(np.int32)
    return outputs_of(drawn), labels


@pytest.mark.parametrize("cam", [1.0, 0.33])
def test_the_fit_recovers_what_drew_the_labels(cam: float) -> None:
    truth = Fusion(cam=cam, mask=(0.0, 0.4, 0.8), bias=(0.0, 1.0, 3.0))
    found = fit_fusion(*drawn(truth))
    assert found.cam == pytest.approx(truth.cam, rel=0.1)
    np.testing.assert_allclose(found.mask, truth.mask, atol=0.08)
    np.testing.assert_allclose(found.bias, truth.bias, atol=0.35)


@pytest.mark.parametrize("subtype", [0.0, 1.5])
def test_the_fit_recovers_the_weight_of_malignant_subtypes(subtype: float) -> None:
    truth = Fusion(
        cam=1.0, mask=(0.0, 0.4, 0.8), bias=(0.0, 1.0, 3.0),
        subtype=subtype, malignant_subtypes=(1,),
    )  # fmt: skip
    found = fit_fusion(*drawn(truth), malignant_subtypes=(1,))
    assert found.subtype == pytest.approx(subtype, abs=0.1)
    assert fit_fusion(*drawn(truth)).subtype == 0.0, "not asked for"


def test_facts_beside_the_pixels_are_weighed_and_their_absence_is_a_usual_case() -> None:
    truth = Fusion(
        cam=1.0, mask=(0.0, 0.4, 0.8), bias=(0.0, 1.0, 3.0),
        context={"age": {"10-19": (0.0, 0.3, 1.2), "60+": (0.0, -0.3, -1.2)}},
    )  # fmt: skip
    outputs, _ = drawn(truth)
    rng = np.random.default_rng(3)
    ages = [{"age": str(word)} for word in rng.choice(["10-19", "60+"], 6000)]
    chances = fused_probabilities(outputs, truth, ages)
    labels = (rng.random((6000, 1)) > chances.cumsum(axis=1)).sum(axis=1).astype(np.int32)
    found = fit_fusion(outputs, labels, context=ages)
    malignant = {word: weights[2] for word, weights in found.context["age"].items()}
    assert malignant["10-19"] - malignant["60+"] == pytest.approx(2.4, abs=0.25)
    known = fused_probabilities(outputs, found, ages)
    silent = fused_probabilities(outputs, found, [{}] * 6000)
    assert macro_auc(labels, known) > macro_auc(labels, silent) + 0.01
    # Films without the fact are as calibrated as those with it.
    shares = np.bincount(labels, minlength=3) / 6000
    np.testing.assert_allclose(silent.mean(axis=0), shares, atol=0.03)
    assert fit_fusion(outputs, labels).context == {}


def test_subtypes_are_read_where_the_lesion_is() -> None:
    subtype = np.zeros((3, 3, 2), np.float32)
    subtype[0, 0], subtype[2, 1] = (6.0, -6.0), (-2.0, 4.0)
    mask = np.full((24, 24), -9.0, np.float32)
    mask[16:24, 8:16] = 9.0
    np.testing.assert_allclose(subtype_logits(subtype, mask), [-2.0, 4.0], atol=0.02)
    attention = (1.0 / (1.0 + np.exp(-mask)))[np.newaxis, ..., np.newaxis]
    trained = attended_logits(subtype[np.newaxis], attention)[0]
    np.testing.assert_allclose(subtype_logits(subtype, mask), trained, atol=1e-3)
    film = {"cam": subtype[..., [0, 0, 0]], "mask": mask[..., np.newaxis], "subtype": subtype}
    assert weigh(film, (1,)).malignancy == pytest.approx(6.0, abs=0.03)
    assert weigh(film, ()).malignancy == 0.0


def test_mirrored_outputs_are_turned_back() -> None:
    film = {"cam": np.arange(12, dtype=np.float32).reshape(2, 2, 3)}
    turned = {"cam": film["cam"][:, ::-1]}
    np.testing.assert_array_equal(average_mirrored(film, turned)["cam"], film["cam"])
    assert average_mirrored(film, film)["cam"][0, 0, 0] == 1.5


def test_a_mask_that_says_nothing_is_not_listened_to() -> None:
    outputs, labels = drawn(Fusion(cam=1.0, mask=(0.0, 0.0, 0.0), bias=(0.0, 0.0, 0.0)))
    found = fit_fusion(outputs, labels)
    np.testing.assert_allclose(found.mask, 0.0, atol=0.05)
    flat = {**outputs, "mask": np.full_like(outputs["mask"], -3.0)}
    assert np.isfinite(fused_probabilities(flat, fit_fusion(flat, labels))).all()


def test_a_mask_that_speaks_against_lesions_is_not_listened_to() -> None:
    outputs, labels = drawn(Fusion(cam=1.0, mask=(0.0, -1.0, -1.0), bias=(0.0, -5.0, -5.0)))
    assert fit_fusion(outputs, labels).mask == (0.0, 0.0, 0.0)


def test_unknown_labels_count_for_nothing() -> None:
    outputs, labels = drawn(Fusion(cam=1.0, mask=(0.0, 0.4, 0.8), bias=(0.0, 1.0, 3.0)), 400)
    kept = {head: values[:300] for head, values in outputs.items()}
    labels[300:] = -1
    assert fit_fusion(outputs, labels) == fit_fusion(kept, labels[:300])
    assert fused_auc(outputs, labels) == fused_auc(kept, labels[:300])


def test_the_mask_adds_to_what_the_class_head_knows() -> None:
    outputs, labels = drawn(Fusion(cam=0.5, mask=(0.0, 1.0, 1.0), bias=(0.0, 5.0, 5.0)))
    alone = macro_auc(labels, softmax(outputs["cam"].mean(axis=(1, 2))))
    assert fused_auc(outputs, labels) > alone + 0.05


MAPS = arrays(np.float32, (5, 4), elements=st.floats(-30, 30, width=32))


@settings(deadline=None)
@given(mask=MAPS, row=st.integers(0, 4), column=st.integers(0, 3), more=st.floats(0, 20))
def test_evidence_is_a_smooth_maximum(mask: FloatArray, row: int, column: int, more: float) -> None:
    evidence = float(lesion_evidence(mask))
    peak = float(mask.max())
    assert peak - np.log(mask.size) - 1e-3 <= evidence <= peak + 1e-3
    brighter = mask.copy()
    brighter[row, column] += np.float32(more)
    assert float(lesion_evidence(brighter)) >= evidence - 1e-3
    both = lesion_evidence(np.stack([mask, brighter]))
    assert both.shape == (2,)
    assert float(both[0]) == pytest.approx(evidence, abs=1e-4)

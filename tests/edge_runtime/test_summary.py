"""The preliminary summary: what it must say, and what it must not."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.bundle import LABELS
from edge_runtime.decision import Decision
from edge_runtime.phrases import LANGUAGES, Language, Phrase, catalogue, say
from edge_runtime.quality import QualityFinding, unfit
from edge_runtime.screening import Film, Lesion, OutOfDistribution, Screening
from edge_runtime.summary import actions, film_summary, in_words, study_summary
from tests.edge_runtime import summaries
from tests.edge_runtime.screenings import screening, triage
from tests.edge_runtime.test_phrases import all_clear, holes


def keys(phrases: tuple[Phrase, ...]) -> list[str]:
    return [phrase.key.removeprefix("summary.") for phrase in phrases]


def english(phrases: tuple[Phrase, ...]) -> str:
    return "\n".join(say(phrase) for phrase in phrases)


def test_the_summaries_of_fixed_screenings_are_those_that_were_read() -> None:
    """`python -m tests.edge_runtime.summaries` writes them anew."""
    assert summaries.FILE.read_text(encoding="utf-8") == summaries.golden()


@pytest.mark.parametrize(
    ("made", "decision", "action"),
    [
        (summaries.film(), "URGENT REVIEW", "What to do: show the film to a radiologist now."),
        (summaries.routine(), "ROUTINE REVIEW", "What to do: have a radiologist read the film, "),
        (summaries.quiet(), "NOT FLAGGED", "What to do: have the film read as always; the check "),
        (summaries.blurred(), "UNABLE TO CHECK", "What to do: hold it still, shorten the "),
        (summaries.refused(), "UNABLE TO CHECK", "What to do: send plain films only (CR, DX, RG)."),
    ],
)
def test_every_decision_says_what_it_is_and_what_to_do(
    made: Screening, decision: str, action: str
) -> None:
    told = english(film_summary(made))
    assert told.startswith("Preliminary result of a software check for bone tumours only")
    assert f"\n{decision}" in told
    assert f"\n{action}" in told
    assert told.endswith("\nBone-tumour check only, not a normal report.")
    assert [f"What to do: {say(one)}." for one in actions(made.decision, [made])] == [
        line for line in told.splitlines() if line.startswith("What to do")
    ]


def test_how_sure_is_told_against_the_threshold() -> None:
    told = english(film_summary(summaries.film()))
    assert "Probability of a malignant bone tumour: 81.0% (threshold 60.0%)." in told
    assert "Probability of a bone tumour: 92.9% (threshold 25.0%)." in told


def test_why_a_film_is_unable_is_told_and_no_probability() -> None:
    told = english(film_summary(summaries.blurred()))
    assert "Reason: the knee is blurred." in told
    assert summaries.blurred().probabilities is not None
    assert not re.search(r"\d", told) and "robability" not in told
    two = summaries.blurred(quality=(unfit("strip", ratio=5.0), unfit("blank")))
    assert keys(film_summary(two)).count("because") == 2
    unexplained = summaries.blurred(quality=())
    assert "What to do: have a person look at the film." in english(film_summary(unexplained))


@pytest.mark.parametrize(
    ("middle", "where"),
    [((5, 5), "upper_left"), ((45, 5), "upper_right"), ((30, 45), "middle_middle"),
     ((20, 30), "middle_middle"), ((19, 29), "upper_left"), ((60, 90), "lower_right"),
     ((30, 61), "lower_middle"), ((0, 45), "middle_left")],
)  # fmt: skip
def test_where_is_one_of_nine_fields(middle: tuple[float, float], where: str) -> None:
    x, y = middle
    area = Lesion(box=(x - 1.0, y - 1.0, x + 1.0, y + 1.0), box_mm=None, score=0.5,
                  area_fraction=0.1)  # fmt: skip
    film = Film(rows=90, columns=60, body_part=None, side="left")
    (told,) = (
        one
        for one in film_summary(screening(film=film, lesions=(area,)))
        if one.key == "summary.marked"
    )
    assert told.values == {"place": f"place.{where}"}


def test_the_size_is_told_where_the_spacing_is_known() -> None:
    area = Lesion(box=(1.0, 1.0, 9.0, 9.0), box_mm=(2.0, 3.0, 34.4, 44.0), score=0.5,
                  area_fraction=0.1)  # fmt: skip
    told = english(film_summary(screening(lesions=(area,))))
    assert "Marked area: upper third, left side of the picture, about 32 × 41 mm." in told


def test_of_many_areas_three_are_described_and_the_others_counted() -> None:
    told = english(film_summary(summaries.routine()))
    assert told.count("Marked area: ") == 3
    assert "Marked areas that are not described here: 2." in told
    # A document of a version that did not keep the film's size.
    old = summaries.routine(film=None)
    assert "Marked areas that are not described here: 5." in english(film_summary(old))


def test_the_part_of_the_body_is_the_headers() -> None:
    assert "Body part: knee (right)." in english(film_summary(screening()))
    assert "Body part: upper limb." in english(film_summary(summaries.routine()))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("films", [1, 2])
def test_triage_tells_no_probability_and_no_place(language: Language, films: int) -> None:
    leaky = screening(intended_use="triage")
    for made in (triage(), leaky):
        for phrases in (film_summary(made), study_summary("urgent_review", [made] * films)):
            told = "\n".join(say(phrase, language) for phrase in phrases)
            assert not re.search(r"\d", told.replace(str(films), ""))
            for phrase in phrases:
                assert not {"part", "place", "probability"} & set(phrase.values)


def test_a_study_is_told_by_its_own_decision_and_rule() -> None:
    films = [summaries.film(1), summaries.quiet(2), summaries.blurred(3), summaries.blurred(4)]
    told = english(study_summary("urgent_review", films))
    assert "Films of this study: 4." in told
    assert "Films that could not be checked: 2 of 4." in told
    assert told.count("Reason: the knee is blurred.") == 1, "said once"
    assert "Probability of a malignant bone tumour: 81.0% (threshold 60.0%)." in told
    assert "The film alone raises suspicion of malignancy; this is no diagnosis." in told
    assert told.count("Body part: knee (right).") == 1
    assert "Marked area:" in told
    assert "What to do: show the film to a radiologist now." in told


def test_a_study_that_is_not_flagged_shows_no_place_of_a_film_that_is() -> None:
    told = study_summary("not_flagged", [summaries.routine(1)])
    assert not {"marked", "unmarked", "more_marked"} & set(keys(told))


def test_a_study_of_which_a_film_could_not_be_checked_tells_no_probability() -> None:
    told = english(study_summary("unable", [summaries.quiet(1), summaries.refused(2)]))
    assert "robability" not in told
    assert "Reason: modality CT, not a radiograph." in told


def test_what_to_do_about_a_study_is_said_once() -> None:
    films = [summaries.quiet(1), summaries.blurred(2), summaries.blurred(3), summaries.refused(4)]
    assert [phrase.key for phrase in actions("unable", films)] == [
        "quality.blurred_do", "refused.modality_do",
    ]  # fmt: skip
    assert [phrase.key for phrase in actions("urgent_review", films)] == ["action.urgent_review"]


def test_without_a_rule_of_studies_that_of_films_is_told() -> None:
    films = [summaries.film(1, study_operating_points=()),
             summaries.quiet(2, study_operating_points=())]  # fmt: skip
    assert "81.0% (threshold 60.0%)" in english(study_summary("urgent_review", films))


def test_the_rule_of_studies_goes_before_that_of_films() -> None:
    (malignant, _) = summaries.points("study")
    strict = (malignant.model_copy(update={"threshold": 0.7}),)
    told = english(study_summary("urgent_review", [summaries.film(study_operating_points=strict)]))
    assert "81.0% (threshold 70.0%)" in told and "60.0%" not in told


def test_films_of_two_bundles_have_no_rule_in_common() -> None:
    (malignant, _) = summaries.points("study")
    strict = (malignant.model_copy(update={"threshold": 0.7}),)
    other = summaries.quiet(2, study_operating_points=strict)
    told = english(study_summary("urgent_review", [summaries.film(1), other]))
    assert "threshold" not in told and "suspicion of malignancy" in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_summary_sounds_like_an_all_clear(language: Language) -> None:
    standing = catalogue(language).phrases["notice.standing"]
    for name, phrases in summaries.cases().items():
        *told, last = (say(phrase, language) for phrase in phrases)
        assert standing in last, name
        assert not [line for line in told if all_clear(language, line)], name


FINDINGS = [
    unfit(key.removeprefix("quality."),
          **{name: "body.knee" if name == "part" else 9.5 for name, _ in
             holes(template) + holes(catalogue("en").phrases[f"{key}_do"])})
    for key, template in catalogue("en").phrases.items()
    if key.startswith("quality.") and not key.endswith("_do")
]  # fmt: skip
REFUSALS = [
    Phrase(key=key, values={name: "CT" for name, _ in
                            holes(template) + holes(catalogue("en").phrases[f"{key}_do"])})
    for key, template in catalogue("en").phrases.items()
    if key.startswith("refused.") and not key.endswith("_do")
]  # fmt: skip
SHARES = st.floats(0, 1)
BOXES = st.tuples(*[st.floats(-1e4, 1e4)] * 4)
LESIONS = st.builds(Lesion, box=BOXES, box_mm=st.none() | BOXES, score=SHARES, area_fraction=SHARES)
PARTS = sorted(
    key.removeprefix("body.") for key in catalogue("en").phrases if key.startswith("body.")
)
SCREENINGS = st.fixed_dictionaries(
    {
        "decision": st.sampled_from(get_args(Decision)),
        "intended_use": st.sampled_from(["localise", "triage"]),
        "synthetic": st.booleans(),
        "film": st.none()
        | st.builds(
            Film,
            rows=st.integers(64, 5000),
            columns=st.integers(64, 5000),
            body_part=st.none() | st.sampled_from(PARTS),
            side=st.sampled_from([None, "left", "right", "both"]),
        ),
        "probabilities": st.none() | st.fixed_dictionaries(dict.fromkeys(LABELS, SHARES)),
        "tumour_probability": st.none() | SHARES,
        "prediction_set": st.none()
        | st.sets(st.sampled_from(LABELS)).map(
            lambda chosen: tuple(label for label in LABELS if label in chosen)
        ),
        "operating_points": st.sampled_from([(), summaries.points("image")]),
        "study_operating_points": st.sampled_from([(), summaries.points("study")]),
        "lesions": st.lists(LESIONS, max_size=5).map(tuple),
        "quality": st.lists(
            st.sampled_from(
                [*FINDINGS, QualityFinding(finding="old", action="look", refuses=True)]
            ),
            max_size=3,
        ).map(tuple),
        "refusal": st.none() | st.sampled_from(REFUSALS),
        "out_of_distribution": st.sampled_from(["familiar", "unfamiliar", "not_assessed"]).map(
            lambda status: OutOfDistribution(status=status, reason="")
        ),
        "degraded": st.sampled_from([(), ("slower",)]),
    }
)


def check(phrases: tuple[Phrase, ...], secret: bool) -> None:
    told = in_words(phrases)
    assert set(told.text) == set(LANGUAGES)
    for language, lines in told.text.items():
        assert len(lines) == len(phrases)
        assert all(lines)
        assert catalogue(language).phrases["notice.standing"] in lines[-1]
        assert not [line for line in lines[:-1] if all_clear(language, line)]
    if secret:
        for phrase in phrases:
            assert not {"place", "probability", "threshold"} & set(phrase.values)


@settings(max_examples=150, deadline=None)
@given(SCREENINGS)
def test_any_screening_is_summarised_in_every_language(parts: dict[str, Any]) -> None:
    made = Screening.model_construct(**{**vars(screening()), **parts})
    secret = made.intended_use == "triage" or made.decision == "unable"
    check(film_summary(made), secret)
    assert actions(made.decision, [made])


@settings(max_examples=80, deadline=None)
@given(st.lists(SCREENINGS, min_size=1, max_size=4), st.sampled_from(get_args(Decision)))
def test_any_study_is_summarised_in_every_language(
    films: list[dict[str, Any]], decision: Decision
) -> None:
    made = [Screening.model_construct(**{**vars(screening()), **parts}) for parts in films]
    secret = decision == "unable" or any(film.intended_use == "triage" for film in made)
    check(study_summary(decision, made), secret)


def test_a_document_without_a_summary_is_read_all_the_same() -> None:
    """One that an earlier version wrote, and that lies in a unit's spool."""
    late = ("film", "refusal", "study_operating_points", "summary")
    document = screening(quality=(unfit("blank"),)).model_dump(mode="json", by_alias=True)
    for name in late:
        del document[name]
    del document["quality"][0]["phrase"]
    again = Screening.model_validate(document)
    assert again.summary is None and again.quality[0].phrase is None
    assert study_summary("urgent_review", [again])[-1].values == {"sentence": "notice.standing"}

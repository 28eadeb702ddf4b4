"""The catalogues of phrases: they agree, each phrase can be told, and none is an all-clear."""

from __future__ import annotations

import ast
import pickle
import re
import unicodedata
from pathlib import Path
from string import Formatter

import pytest
from pydantic import ValidationError

from edge_runtime import errors
from edge_runtime.bundle import LABELS
from edge_runtime.context import REGIONS
from edge_runtime.errors import RadiographError
from edge_runtime.phrases import FSI, LANGUAGES, PDI, Language, Phrase, catalogue, say, words
from edge_runtime.quality import QualityFinding, part_named
from edge_runtime.reports.wording import HEADLINES
from edge_runtime.screening import STANDING_SENTENCE

DEVICE = Path(errors.__file__).parent
# What a verdict must not say; the standing sentence denies it.
ALL_CLEAR: dict[Language, str] = {
    "en": r"\b(normal|clear|no findings?|negative|healthy|unremarkable)\b",
    "fr": r"\b(normale?|saine?|négati(f|ve)|sans anomalie|rien à signaler|sans particularité)\b",
    "es": r"\b(normal|san[oa]|negativ[oa]|sin hallazgos|sin alteraciones|libre de)\b",
    "sw": r"\b(kawaida|salama|mzima|haina tatizo|afya|hasi)\b",
    # Words of these take on and lose letters at either end.
    "hi": r"सामान्य|नॉर्मल|स्वस्थ|नेगेटिव|साफ़|कोई ख़राबी नहीं",
    "ar": r"طبيعي|سليم|سلبي|خالي|لا شيء",
}


def all_clear(language: Language, told: str) -> bool:
    rule = unicodedata.normalize("NFC", ALL_CLEAR[language])
    return bool(re.search(rule, unicodedata.normalize("NFC", told), re.IGNORECASE))


def holes(template: str) -> list[tuple[str, str | None]]:
    """Placeholders of a template, and how each is told."""
    return sorted((name, how) for _, name, how, _ in Formatter().parse(template) if name)


def a_value(name: str, how: str | None) -> str | int | float:
    """Something that a placeholder may stand for."""
    if how == "percent":
        return 0.815
    if how == "date":
        return "2026-11-22"
    if how:
        return 12.25
    keys = {
        "part": "body.knee", "side": "side.left", "place": "place.upper_left",
        "sentence": "notice.research", "finding": "quality.blank", "action": "quality.blank_do",
        "modality": "word.missing",
    }  # fmt: skip
    return keys.get(name, 3)


def everything(language: Language) -> dict[str, str]:
    """Every phrase of a language, told."""
    return {
        key: say(
            Phrase(key=key, values={name: a_value(name, how) for name, how in holes(template)}),
            language,
        )
        for key, template in catalogue(language).phrases.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_catalogue_has_the_keys_and_placeholders_of_english(language: Language) -> None:
    english, other = catalogue("en").phrases, catalogue(language).phrases
    assert list(other) == list(english), "in the same order, so that two files can be read together"
    for key, template in english.items():
        assert holes(other[key]) == holes(template), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phrase_is_told_in_every_language(language: Language) -> None:
    for key, told in everything(language).items():
        assert told.strip() == told and told, key
        assert not re.search(r"[{}]|None", told), key
        assert "  " not in told, key
        assert "\n" not in told, key


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_nothing_was_left_in_english(language: Language) -> None:
    same = {
        key
        for key, template in catalogue(language).phrases.items()
        if template == catalogue("en").phrases[key]
    }
    # Anatomists' Latin, templates of nothing but values, and page labels may be spelt alike.
    alike = {"summary.sentence", "body.scapula", "body.tibia", "body.fibula", "body.pelvis"}
    assert {key for key in same if not key.startswith(("page.", "feedback."))} <= alike


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_phrase_sounds_like_an_all_clear(language: Language) -> None:
    for key, told in everything(language).items():
        if key != "notice.standing":
            assert not all_clear(language, told), (key, told)


def test_the_words_that_sound_like_an_all_clear_are_found_where_they_stand() -> None:
    """The rule above can fail: the standing sentence, which denies them, breaks it."""
    for language in LANGUAGES:
        assert all_clear(language, catalogue(language).phrases["notice.standing"])


def test_scripts_are_those_of_the_languages() -> None:
    script = {"hi": r"[\u0900-\u097F]", "ar": r"[\u0600-\u06FF]"}
    for language in LANGUAGES:
        for key, template in catalogue(language).phrases.items():
            if key.startswith("body.") or not re.fullmatch(r"\W*(\{\w+\}\W*)+", template):
                own = re.search(script.get(language, "[A-Za-z?]"), template)
                assert own or template == "?", (language, key)


def test_among_arabic_words_nothing_else_stands_without_isolates() -> None:
    for key, told in everything("ar").items():
        depth, outside = 0, ""
        for character in told:
            depth += (character == FSI) - (character == PDI)
            assert depth in (0, 1, 2), key
            outside += character if depth == 0 else ""
        assert depth == 0, key
        assert not re.search("[A-Za-z0-9]", outside), (key, told)
    for language in set(LANGUAGES) - {"ar"}:
        assert not [key for key, told in everything(language).items() if FSI in told or PDI in told]


def test_french_has_no_break_before_double_punctuation() -> None:
    told = " ".join(everything("fr").values())
    assert not re.search(r"[^\u00a0][:;!%](?= |$)", told)
    assert "\u00a0:" in told and "\u00a0%" in told


@pytest.mark.parametrize(
    ("language", "percent", "number"),
    [
        ("en", "81.5%", "12.2"), ("fr", "81,5\u00a0%", "12,2"), ("es", "81,5\u00a0%", "12,2"),
        ("sw", "81.5%", "12.2"), ("hi", "81.5%", "12.2"),
        ("ar", f"{FSI}81.5%{PDI}", f"{FSI}12.2{PDI}"),
    ],
)  # fmt: skip
def test_numbers_are_told_as_the_language_writes_them(
    language: Language, percent: str, number: str
) -> None:
    figures = {"probability": 0.815, "threshold": 0.6}
    assert percent in say(Phrase(key="summary.tumour", values=figures), language)
    assert number in say(Phrase(key="quality.strip", values={"ratio": 12.249}), language)


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "<0.1%"), (0.0009, "<0.1%"), (0.001, "0.1%"), (0.5, "50.0%"), (0.999, "99.9%"),
     (0.9999, ">99.9%"), (1.0, ">99.9%"), (1, ">99.9%")],
)  # fmt: skip
def test_no_probability_is_told_as_certainty(share: float, told: str) -> None:
    phrase = Phrase(key="summary.tumour", values={"probability": share, "threshold": 0.5})
    assert f": {told} (" in say(phrase)


@pytest.mark.parametrize("language", LANGUAGES)
def test_dates_have_the_day_first_where_that_is_the_custom(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = catalogue(language)
    monkeypatch.setitem(told.phrases, "test.day", "{day:date}")  # type: ignore[arg-type]
    said = say(Phrase(key="test.day", values={"day": "2026-11-02"}), language)
    assert said.strip(FSI + PDI) == ("2026-11-02" if language == "en" else "02/11/2026")


def test_a_value_that_is_a_phrase_is_told_with_the_same_values() -> None:
    values = {"finding": "quality.blurred", "part": "body.knee"}
    assert say(Phrase(key="summary.because", values=values)) == "Reason: the knee is blurred."
    assert say(Phrase(key="summary.because", values=values), "ar") == (
        "السبب: الصورة مشوّشة الحواف (الركبة)."
    )
    itself = Phrase(key="summary.sentence", values={"sentence": "summary.sentence"})
    with pytest.raises(KeyError):
        say(itself)


def test_a_phrase_is_data() -> None:
    phrase = Phrase(key="quality.strip", values={"ratio": 5.0, "part": "x", "films": 3})
    again = Phrase.model_validate_json(phrase.model_dump_json())
    assert again == phrase
    assert [type(value) for value in again.values.values()] == [float, str, int]
    with pytest.raises(ValidationError):
        Phrase(key="quality.strip", value={})  # type: ignore[call-arg]
    with pytest.raises(KeyError):
        say(Phrase(key="quality.strip"))


def test_words_are_the_labels_of_the_page() -> None:
    for language in LANGUAGES:
        labels, phrases = words(language), catalogue(language).phrases
        assert labels.pop("language") == language
        assert labels.pop("direction") == ("rtl" if language == "ar" else "ltr")
        for name, label in labels.items():
            assert label == phrases[name if "." in name else f"page.{name}"]
        assert {"page.today", "notice.standing", "side.left", "body.knee"} <= {
            name if "." in name else f"page.{name}" for name in labels
        }


def test_english_is_what_all_other_outputs_say() -> None:
    assert STANDING_SENTENCE == "Bone-tumour check only, not a normal report"
    for decision, headline in HEADLINES.items():
        assert say(Phrase(key=f"decision.{decision}")) == headline


# What may make a film `unable`: a new one without phrases fails here.


def calls(function: str) -> dict[str, set[str]]:
    """Names of the phrases that the device's code calls a function with, and their values."""
    found: dict[str, set[str]] = {}
    for path in sorted(DEVICE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, (ast.Attribute, ast.Name)
            ):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if called == function and node.args and path.name not in {"errors.py"}:
                (name, *_) = node.args
                if isinstance(name, ast.Constant):
                    given = {keyword.arg for keyword in node.keywords if keyword.arg}
                    found.setdefault(str(name.value), given)
                    assert found[str(name.value)] == given, f"{path.name}: {name.value}"
    return found


@pytest.mark.parametrize(("function", "subject"), [("because", "refused"), ("unfit", "quality")])
def test_whatever_makes_a_film_unable_has_phrases(function: str, subject: str) -> None:
    told = calls(function)
    assert len(told) > 8
    phrases = catalogue("en").phrases
    for name, given in told.items():
        finding, action = phrases[f"{subject}.{name}"], phrases[f"{subject}.{name}_do"]
        assert {hole for hole, _ in holes(finding) + holes(action)} == given, name
    written = {key for key in phrases if key.startswith(f"{subject}.")}
    used = {f"{subject}.{name}{end}" for name in told for end in ("", "_do")}
    # `other` is for an error that only the workstation raises.
    assert written - used <= {"refused.other", "refused.other_do"}, "nobody says them"


def test_the_device_raises_no_error_of_films_without_a_phrase() -> None:
    kinds = {kind.__name__ for kind in _below(RadiographError)} | {QualityFinding.__name__}
    # What these refuse is told to whoever exports or imports, in English: no film is `unable`.
    offline = {"deidentify", "feedback"}
    for path in sorted(DEVICE.rglob("*.py")):
        if path.relative_to(DEVICE).parts[0] in offline:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                direct = node.func.id in kinds
                assert not direct or path.name == "quality.py", f"{path.name}:{node.lineno}"


def _below(kind: type) -> set[type]:
    return {kind}.union(*map(_below, kind.__subclasses__()))


def test_an_error_tells_its_phrase_in_english_and_survives_a_process_border() -> None:
    error = errors.UnsupportedRadiographError.because("too_small", "a.png", columns=9, rows=8)
    assert str(error) == "a.png: only 9 x 8 pixels. Send the film at its full size."
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.phrase, type(again)) == (str(error), error.phrase, type(error))
    assert again.phrase == Phrase(key="refused.too_small", values={"columns": 9, "rows": 8})
    assert RadiographError("what", "Do").phrase is None


def test_parts_of_the_body_have_words() -> None:
    phrases = catalogue("en").phrases
    from edge_runtime.quality import _NAMED

    assert {f"body.{part_named(word)}" for word in _NAMED} <= set(phrases)
    assert {f"body.{region}" for region in REGIONS} <= set(phrases)


def test_every_prediction_set_has_words() -> None:
    sets = {""}
    for label in LABELS:
        sets |= {f"{one}_{label}" for one in sets}
    names = {f"summary.set{one or '_empty'}" for one in sets}
    assert names == {key for key in catalogue("en").phrases if key.startswith("summary.set_")}

"""What importers share: the label map, the labels of films, the folder that goes on, the key."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundle import LABELS
from edge_runtime.dataset_folder import DatasetCard, DatasetFolder
from edge_runtime.deidentify.secret import MAX_SHIFT_DAYS, MIN_SHIFT_DAYS, Secret, open_secret
from edge_runtime.errors import ConfigError, DatasetError
from edge_runtime.label_map import (
    LabelMap,
    Meaning,
    load_label_map,
    normalise,
    split_words,
)
from train.dataset.importers.label_rows import FoundFilm, LabelRow, match, read_label_rows
from train.dataset.schema import load_dataset

DEFAULTS = load_label_map(None)
CARD = DatasetCard('a "quoted" name', "line\nbreak \\ and ü", "CC0-1.0", True, False)


# The label map


@pytest.mark.parametrize(
    ("cell", "meaning"),
    [
        ("No tumor", Meaning("no_tumour")),
        ("OSTEOSARCOMA", Meaning("malignant", "osteosarcoma")),
        ("giant-cell  tumor", Meaning("benign", "giant cell tumor")),
        ("Simple bone cyst; Pathological fracture",
         Meaning("benign", "simple bone cyst", "pathological fracture")),
        ("no tumour; fracture; hardware", Meaning("no_tumour", "", "fracture;implant")),
        ("benign; osteochondroma", Meaning("benign", "osteochondroma")),
        ("osteochondroma; osteochondroma", Meaning("benign", "osteochondroma")),
        ("unknown", Meaning()),
        ("", Meaning()),
    ],
)  # fmt: skip
def test_words_mean(cell: str, meaning: Meaning) -> None:
    assert DEFAULTS.meaning(split_words(cell), "x") == meaning


@pytest.mark.parametrize(
    "word",
    ["fracture", "osteomyelitis", "hardware", "metastasis", "metastases", "myeloma", "infection",
     "multiple myeloma", "prosthesis", "unknown", "unannotated"],
)  # fmt: skip
def test_what_is_no_primary_tumour_never_becomes_no_tumour(word: str) -> None:
    assert DEFAULTS.meaning([word], "x").label == ""


def test_only_words_that_say_so_mean_no_tumour() -> None:
    said = {word for word, meaning in DEFAULTS.meanings.items() if meaning.label == "no_tumour"}
    assert all("tumour" in word or "lesion" in word or word == "normal" for word in said), said
    assert not any(word.isdecimal() for word in DEFAULTS.meanings), "numbers are nobody's words"


@given(st.sampled_from(sorted(DEFAULTS.meanings)), st.data())
def test_case_blanks_and_hyphens_do_not_count(word: str, data: st.DataObject) -> None:
    changed = "".join(
        data.draw(st.sampled_from((letter.upper(), letter))) if letter != " " else
        data.draw(st.sampled_from((" ", "  ", "-", "_", " - ")))
        for letter in word
    )  # fmt: skip
    assert DEFAULTS.meaning([f" {changed} "], "x") == DEFAULTS.meanings[word]
    assert normalise(normalise(changed)) == normalise(changed)


@given(st.lists(st.sampled_from(sorted(DEFAULTS.meanings)), max_size=5))
def test_words_together_say_no_more_than_each(words: list[str]) -> None:
    labels = {DEFAULTS.meanings[word].label for word in words} - {""}
    if len(labels) > 1:
        with pytest.raises(DatasetError, match="at once"):
            DEFAULTS.meaning(words, "x")
        return
    meaning = DEFAULTS.meaning(words, "x")
    assert meaning.label == (labels.pop() if labels else "")
    assert meaning.label in (*LABELS, "")
    findings = {DEFAULTS.meanings[word].other_finding for word in words} - {""}
    assert set(split_words(meaning.other_finding)) == findings


def test_unknown_words_are_listed_with_counts_and_the_way_to_add_them() -> None:
    with pytest.raises(ConfigError) as refused:
        DEFAULTS.require(["Knochenbruch", "normal", "Zyste", "Knochenbruch"], "labels.csv")
    message = str(refused.value)
    assert message.startswith(
        "labels.csv: the label map does not know these words: 'Knochenbruch' (2)"
    )
    assert "'Zyste' (1)" in message
    assert "fracture = ['Knochenbruch']" in message
    assert "--map" in message


def map_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "words.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_map_of_ones_own_adds_and_wins(tmp_path: Path) -> None:
    own = load_label_map(
        map_file(
            tmp_path,
            'no_tumour = ["o. B.", "unannotated"]\n[malignant]\n"ewing sarcoma" = ["ES"]\n'
            '[other_finding]\nfracture = ["normal"]\n',
        )
    )
    assert own.meaning(["O. b."], "x").label == "no_tumour"
    assert own.meaning(["es"], "x") == Meaning("malignant", "ewing sarcoma")
    assert own.meaning(["normal"], "x") == Meaning(other_finding="fracture")
    assert own.meaning(["unannotated"], "x").label == "no_tumour"
    assert own.meaning(["osteosarcoma"], "x").label == "malignant", "the defaults stay"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('no_tumour = ["a"]\n[benign]\n"" = ["A"]', "'A' is given two meanings"),
        ('normal = ["a"]', "normal: Extra inputs"),
        ('no_tumour = "a"', "no_tumour: Input should be a valid list"),
        ("no_tumour = [", "not valid TOML"),
        ('no_tumour = [" "]', "a word is blank"),
    ],
)
def test_a_wrong_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_label_map(map_file(tmp_path, text))
    assert "words.toml" in str(refused.value)


# Which line is about which film


def film(name: str, **facts: str) -> FoundFilm:
    values = {
        "sop_instance_uid": f"1.2.{name}",
        "study_instance_uid": "1.2",
        "accession_number": "A1",
        "patient_id": "Q1",
        "part": "KNEE",
    } | facts
    return FoundFilm(path=Path("/films") / name, file=name, **values)


def row(line: int, word: str = "benign", **columns: str) -> LabelRow:
    return LabelRow(line, columns, (word,), {})


FILMS = [
    film("a.dcm"),
    film("b.dcm"),
    film("sub/c.dcm", accession_number="A2", study_instance_uid="1.3"),
    film("d.dcm", patient_id="Q2", accession_number="A3", study_instance_uid="1.4"),
    film("sub/d.dcm", patient_id="Q3", accession_number="A3", study_instance_uid="1.5"),
    film("e.dcm", patient_id="Q4", accession_number="A4", part="KNEE L"),
    film("f.dcm", patient_id="Q4", accession_number="A4", part="KNEE R"),
]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"sop_instance_uid": "1.2.a.dcm"}, ["a.dcm"]),
        ({"file": "sub/c.dcm"}, ["sub/c.dcm"]),
        ({"file": "c.dcm"}, ["sub/c.dcm"]),
        ({"accession_number": "A1"}, ["a.dcm", "b.dcm"]),
        ({"accession_number": "A1", "file": "b.dcm"}, ["b.dcm"]),
        ({"accession_number": "A3", "patient_id": "Q2"}, ["d.dcm"]),
        ({"patient_id": "Q3"}, ["sub/d.dcm"]),
    ],
)
def test_a_line_finds_its_films(columns: dict[str, str], found: list[str]) -> None:
    matched = match([row(2, **columns)], FILMS, "labels.csv")
    assert not matched.failures
    assert sorted(path.relative_to("/films").as_posix() for path in matched.films) == found


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "it names no film"),
        ({"file": "z.dcm"}, "no film has its file"),
        ({"file": "a.dcm", "patient_id": "Q2"}, "no film has its file and patient_id"),
        ({"file": "d.dcm"}, "2 films fit its file"),
        ({"accession_number": "A3"}, "belongs to several patients"),
        ({"patient_id": "Q1"}, "its patient has several studies"),
        ({"accession_number": "A4"}, "several parts of the body"),
        ({"patient_id": "Q4"}, "several parts of the body"),
    ],
)
def test_a_line_that_cannot_tell_is_named_by_its_number(
    columns: dict[str, str], message: str
) -> None:
    matched = match([row(7, **columns)], FILMS, "labels.csv")
    assert not matched.films
    (failure,) = matched.failures
    assert message in str(failure)
    assert str(failure).startswith("labels.csv: line 7: ")
    assert not any(value in str(failure) for value in columns.values()), "may name a patient"


def test_lines_that_contradict_each_other_are_both_left_out() -> None:
    rows = [row(2, file="a.dcm"), row(3, "malignant", accession_number="A1")]
    matched = match(rows, FILMS, "labels.csv")
    assert [path.name for path in matched.films] == ["b.dcm"]
    assert "lines 2, 3 say different things" in str(matched.failures[0])
    assert not match([rows[0], replace(rows[0], line=4)], FILMS, "l").failures, "said twice"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_labels_are_read(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "labels.csv"
    lines = [
        "Name,AccNr,Befund,centre,Arzt",
        'a.dcm,007,"benign; fracture",2',
        ",,,",
        '"b\n.dcm",8,,',
    ]
    path.write_text("\n".join(lines).replace(",", delimiter), "utf-8-sig")
    columns = {"file": "Name", "accession_number": "AccNr", "label": "Befund"}
    labels = LabelMap(DEFAULTS.meanings, columns, DEFAULTS.dataset)
    read = read_label_rows(path, labels)
    first, second = read.rows
    assert read.unused == ["Arzt"]
    assert first.film == {"file": "a.dcm", "accession_number": "007"}, "leading zeros stay"
    assert first.words == ("benign", "fracture")
    assert first.facts == {"centre": "2"}
    assert (second.line, second.words) == (5, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nbenign", "no column names the films"),
        ("file\na.dcm", "no column labels them"),
        ("file,label\n,", "no line holds anything"),
        ("file,label,centre\na.dcm,benign,St. Elsewhere", "the centre in line 2 is no number"),
        ("file,label\na.dcm,ben\udcffign", "not UTF-8"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=message):
        read_label_rows(path, DEFAULTS)


def test_columns_of_the_map_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.dcm,benign\n")
    for columns, message in (
        ({"label": "Befund"}, "no column is called 'Befund'"),
        ({"lable": "label"}, r"\[columns\] knows no lable"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_label_rows(path, LabelMap(DEFAULTS.meanings, columns, DEFAULTS.dataset))


# The folder


def rows_for(*names: str) -> list[dict[str, str]]:
    return [
        {"image_id": name, "patient_id": "p", "centre": "1", "path": f"images/{name}.png"}
        for name in names
    ]  # fmt: skip


def test_a_folder_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    root = tmp_path / "out"
    mask = np.full((4, 6), 255, np.uint8)
    with DatasetFolder(root, "test", "k") as folder:
        folder.store("1", "a", b"A", ".png", mask=mask, facts={"x": [1]})
        folder.store("2", "b", b"B", ".png")
    journal = root / ".import.jsonl"
    whole = journal.read_bytes()
    # A kill may cut the last line anywhere, and leave half a picture beside it.
    for cut in range(whole.rindex(b"{") + 1, len(whole)):
        journal.write_bytes(whole[:cut])
        (root / "images" / ".b.png.part").write_bytes(b"half")
        with DatasetFolder(root, "test", "k") as folder:
            kept = folder.stored("1")
            assert kept is not None
            assert kept.facts == {"x": [1]}
            assert folder.stored("2") is None
            folder.store("2", "b", b"B", ".png")
        assert journal.read_bytes() == whole
        assert not list((root / "images").glob("*.part"))
    (root / "masks" / "a.png").unlink()
    with DatasetFolder(root, "test", "k") as folder:
        assert folder.stored("1") is None, "its mask is gone"
        assert folder.finish(rows_for("b"), CARD) == 1
    assert not (root / "images" / "a.png").exists(), "no row names it any more"
    assert load_dataset(root).card == CARD


def test_what_is_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    root, mask = tmp_path / "out", np.full((4, 6), 255, np.uint8)
    with DatasetFolder(root, "test") as folder:
        folder.store("with", "a", b"A", ".png", mask=mask)
        folder.store("without", "a", b"A", ".png")
        assert not (root / "masks" / "a.png").exists()
    with DatasetFolder(root, "test") as folder:
        assert folder.stored("with") is None
        folder.store("with", "a", b"A", ".png", mask=mask)
    with DatasetFolder(root, "test") as folder:
        assert folder.stored("without") is None, "its mask would be another film's"
        folder.store("jpeg", "a", b"B", ".jpg", mask=mask)
        folder.finish([rows_for("a")[0] | {"path": "images/a.jpg"}], CARD)
    assert sorted(path.name for path in root.rglob("a.*")) == ["a.jpg", "a.png"]
    assert (root / "masks" / "a.png").exists()


def test_a_folder_belongs_to_one_import(tmp_path: Path) -> None:
    root = tmp_path / "out"
    with DatasetFolder(root, "test", "k") as folder:
        folder.store("1", "a", b"A", ".png")
        with pytest.raises(ConfigError, match="another process"):
            DatasetFolder(root, "test", "k")
        assert folder.finish([], CARD) == 0
        assert not (root / "radiographs.csv").exists(), "no dataset without a film"
    for importer, identity in (("test", "other key"), ("coco", "k")):
        with pytest.raises(ConfigError, match="begun by another"):
            DatasetFolder(root, importer, identity)
    with pytest.raises(ConfigError, match="not empty"):
        DatasetFolder(tmp_path, "test")


# The key


def test_the_key_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "hospital.key"
    first = open_secret(path, tmp_path / "out")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert open_secret(path, tmp_path / "out").fingerprint == first.fingerprint
    assert first.fingerprint not in path.read_text()
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"may be read by others.*chmod 600"):
        open_secret(path, tmp_path / "out")
    path.chmod(0o600)
    path.write_text("not a key")
    with pytest.raises(ConfigError, match="this is no key"):
        open_secret(path, tmp_path / "out")
    with pytest.raises(ConfigError, match="travel with it"):
        open_secret(tmp_path / "out" / "deep" / "key", tmp_path / "out")


@given(st.binary(min_size=32, max_size=32), st.text(max_size=70), st.text(max_size=70))
def test_pseudonyms_are_consistent_and_keyed(key: bytes, one: str, other: str) -> None:
    secret = Secret(key)
    assert secret.uid(one) == Secret(key).uid(one)
    assert (secret.uid(one) == secret.uid(other)) == (one == other)
    assert (secret.name("patient", one) == secret.name("patient", other)) == (one == other)
    assert secret.name("patient", one) != secret.name("film", one)
    assert MIN_SHIFT_DAYS <= secret.shift_days(one) <= MAX_SHIFT_DAYS
    assert len(secret.uid(one)) <= 64
    assert Secret(key[::-1] + b"x").uid(one) != secret.uid(one)


def test_the_journal_is_json_lines(tmp_path: Path) -> None:
    with DatasetFolder(tmp_path / "o", "test") as folder:
        folder.store("1", "a", b"A", ".png")
    head, line = (tmp_path / "o" / ".import.jsonl").read_text().splitlines()
    assert json.loads(head)["importer"] == "test"
    assert json.loads(line)["path"] == "images/a.png"

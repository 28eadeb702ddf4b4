"""The files of the page: every label they ask for is there, and they ask nobody else."""

from __future__ import annotations

import re
from importlib import resources

from edge_runtime.phrases import words

PAGE = {
    file.name: file.read_text("utf-8")
    for file in resources.files("edge_runtime.console").joinpath("page").iterdir()
}


def test_every_label_is_asked_for_and_every_one_that_is_asked_for_is_there() -> None:
    text = "\n".join(PAGE.values())
    # A quoted word may name a label; `score_${…}` begins the names of several.
    quoted = set(re.findall(r'"([a-z_.]+)"', text))
    beginnings = tuple(re.findall(r"`([a-z_.]+)\$\{", text))
    labels = set(words("en"))
    unused = {label for label in labels - quoted if not label.startswith(beginnings)}
    assert unused <= {"language", "direction", "notice.research"}
    asked = set(re.findall(r'\bword\("([a-z_.]+)"', text))
    asked |= set(re.findall(r'data-(?:word|label)="([a-z_.]+)"', text))
    assert asked
    assert asked <= labels


def test_the_words_that_stand_in_the_page_are_the_english_ones() -> None:
    for key, told in re.findall(r'data-word="([a-z_.]+)"[^>]*>([^<]+)<', PAGE["index.html"]):
        assert words("en")[key] == told


def test_no_file_names_another_place_or_writes_markup() -> None:
    for name, text in PAGE.items():
        places = set(re.findall(r"https?://[^\s\"')]+", text))
        assert places <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", text), name
        # The policy forbids styles and handlers in markup; they would be left out without a word.
        assert not re.search(r"<[^>]+\s(style|on\w+)=", text), name


def test_every_symbol_that_is_used_is_drawn() -> None:
    text = "\n".join(PAGE.values())
    drawn = set(re.findall(r'<symbol id="i-([a-z_]+)"', text))
    used = set(re.findall(r'href="#i-([a-z_]+)"', text)) | set(re.findall(r'icon\("(\w+)"\)', text))
    assert used <= drawn
    signs = {"urgent_review", "routine_review", "not_flagged", "unable"}
    assert signs | {"waiting", "checking", "untold", "superseded", "withdrawn"} <= drawn
    parts = set(re.findall(r'part\("(\w+)"', PAGE["quiet.js"]))
    assert parts <= drawn


def test_modules_import_what_they_use_and_nothing_else() -> None:
    for name, text in PAGE.items():
        if not name.endswith(".js"):
            continue
        for names, module in re.findall(r'import \{([^}]+)\} from "\./(\w+\.js)"', text):
            for imported in re.findall(r"\w+", names):
                assert len(re.findall(rf"\b{imported}\b", text)) > 1, (name, imported)
                assert re.search(
                    rf"export (?:async )?(?:function|class|const|let) {imported}\b", PAGE[module]
                ), (name, imported)

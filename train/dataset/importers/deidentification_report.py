"""What de-identification did: deidentification.json and .html in the dataset folder.

Tags, actions and counts; never a value that was removed, a file name, or an original UID.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.tag import Tag

import edge_runtime
from edge_runtime.deidentify.film import METHOD, METHOD_CODES, Touched
from edge_runtime.files import write_atomically

SCHEMA = "osteoedge.deidentification/1"


def write_report(folder: Path, touched: Touched, burned_in: Mapping[str, str], films: int) -> None:
    """Write both forms of the report.

    Parameters
    ----------
    touched
        (tag, keyword, action) -> elements, over all films.
    burned_in
        image_id -> why a person should look whether the picture shows text.
    films
        How many films the folder holds.
    """
    document = {
        "schema": SCHEMA,
        "software": f"osteoedge {edge_runtime.__version__}",
        "method": list(METHOD),
        "method_codes": [
            {"scheme": "DCM", "code": code, "meaning": meaning} for code, meaning in METHOD_CODES
        ],
        "films": films,
        "tags": [
            {
                "tag": tag,
                "name": _name(tag, keyword),
                "action": action,
                "count": count,
            }
            for (tag, keyword, action), count in sorted(touched.items())
        ],
        "burned_in": [
            {"image_id": image_id, "why": why} for image_id, why in sorted(burned_in.items())
        ],
    }
    write_atomically(
        folder / "deidentification.json", (json.dumps(document, indent=1) + "\n").encode()
    )
    environment = Environment(
        loader=PackageLoader("train.dataset.importers", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("deidentification.html.j2").render(document)
    write_atomically(folder / "deidentification.html", page.encode())


def _name(tag: str, keyword: str) -> str:
    number = Tag(int(tag[1:5], 16), int(tag[6:10], 16))
    if number.is_private:
        return "private"
    return dictionary_description(number) if keyword and dictionary_has_tag(number) else "unknown"

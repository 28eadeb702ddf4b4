"""Header values of a film -> the columns `region`, `anatomy`, `view`, `laterality`."""

from __future__ import annotations

from pydicom.dataset import Dataset

# Terms of BodyPartExamined (PS3.16 Annex L). Others, and words of a unit's own, stay unknown.
REGIONS = {
    **dict.fromkeys(
        ("ARM", "CLAVICLE", "ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "RADIUS", "SCAPULA",
         "SHOULDER", "THUMB", "ULNA", "UPPERARM", "WRIST"),
        "upper_limb",
    ),
    **dict.fromkeys(
        ("ANKLE", "CALCANEUS", "FEMUR", "FIBULA", "FOOT", "HALLUX", "HEEL", "KNEE", "LEG",
         "LOWERLEG", "PATELLA", "THIGH", "TIBIA", "TOE"),
        "lower_limb",
    ),
    **dict.fromkeys(("HIP", "ILIUM", "PELVIS", "SIJOINT"), "pelvis"),
}  # fmt: skip

# ViewPosition (PS3.3 C.8.1.1, C.8.11.5.1), and the codes of ViewCodeSequence (PS3.16 CID 4010).
VIEWS = {
    **dict.fromkeys(
        ("AP", "PA", "272479007", "399033003", "399071006", "399335002", "399348003"), "frontal"
    ),
    **dict.fromkeys(
        ("LL", "RL", "LLD", "RLD", "LATERAL", "LAT", "399067008", "399173006", "399198007",
         "399260004", "399352003"),
        "lateral",
    ),
    **dict.fromkeys(
        ("LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE", "260426006", "260427002",
         "399006002", "399038007", "399059000", "399099002", "399135007", "399160007",
         "399182000", "399184004", "399236003", "399312000", "399356000", "399368009"),
        "oblique",
    ),
}  # fmt: skip


def anatomy_columns(dataset: Dataset) -> dict[str, str]:
    """Return `region`, `anatomy`, `view` and `laterality` of a film, blank where unknown."""
    part = _text(dataset, "BodyPartExamined").upper()
    position = _text(dataset, "ViewPosition").upper()
    codes = dataset.get("ViewCodeSequence") or []
    code = _text(codes[0], "CodeValue") if codes else ""
    side = (_text(dataset, "ImageLaterality") or _text(dataset, "Laterality")).upper()
    return {
        "region": REGIONS.get(part.replace(" ", "").replace("_", ""), ""),
        "anatomy": part.lower(),
        "view": VIEWS.get(position) or VIEWS.get(code, ""),
        "laterality": side if side in ("L", "R") else "",
    }


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return str(value).strip() if value is not None else ""

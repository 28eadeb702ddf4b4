"""The bundle (`*.osteo`): the one file that moves from workstation to device.

A zip of exactly these members::

    manifest.json       everything below, validated on load (schema osteoedge.bundle/1), with the
                        SHA-256 of the members
    model.int8.tflite   int8 in, int8 out
    golden.npz          inputs and reference outputs that every delegate must reproduce
    card.md, card.html  the model card
    sbom.cdx.json       what made it, CycloneDX
    SHA256SUMS          of the members above, for sha256sum -c
    familiar.npz        features of training films in short, where there is the head embedding
    limb_gate.npz       what tells limbs from other films, where export was shown others
    model.fp16.tflite   the float network in half precision, where it was asked for
    model.int8_edgetpu.tflite   compiled for the Edge TPU, where there was a compiler
    signature.json      Ed25519 over manifest.json, where it is signed
"""

from edge_runtime.bundle.archive import (
    CARD,
    CARD_PAGE,
    EDGE_TPU_MODEL,
    FAMILIAR,
    GOLDEN,
    HALF_MODEL,
    LIMB_GATE,
    MANIFEST,
    MEMBERS,
    MODEL,
    OPTIONAL_MEMBERS,
    SBOM,
    SUMS,
    ModelBundle,
    add_signature,
    deployed_sha256,
    load_bundle,
    sign_bundle,
    write_bundle,
)
from edge_runtime.bundle.golden import GoldenVectors
from edge_runtime.bundle.manifest import (
    LABELS,
    Action,
    BoundCheck,
    Calibration,
    ConformalQuantile,
    DelegateParity,
    EdgeTpu,
    Familiarity,
    Fitness,
    Fusion,
    GoldenSpec,
    HalfModel,
    Head,
    HeadParity,
    Interval,
    Level,
    LimbLimits,
    Manifest,
    ModelSpec,
    OperatingPoint,
    Provenance,
    Purpose,
    Quantization,
    Representative,
    ScoreName,
    SiteUse,
    TensorSpec,
    Variant,
)
from edge_runtime.bundle.signature import (
    SIGNATURE,
    Signature,
    TrustedKeys,
    generate_key,
    load_trusted_keys,
    sign_manifest,
)
from edge_runtime.bundle.site import SiteFile, with_site, write_site

__all__ = [
    "CARD",
    "CARD_PAGE",
    "EDGE_TPU_MODEL",
    "FAMILIAR",
    "GOLDEN",
    "HALF_MODEL",
    "LABELS",
    "LIMB_GATE",
    "MANIFEST",
    "MEMBERS",
    "MODEL",
    "OPTIONAL_MEMBERS",
    "SBOM",
    "SIGNATURE",
    "SUMS",
    "Action",
    "BoundCheck",
    "Calibration",
    "ConformalQuantile",
    "DelegateParity",
    "EdgeTpu",
    "Familiarity",
    "Fitness",
    "Fusion",
    "GoldenSpec",
    "GoldenVectors",
    "HalfModel",
    "Head",
    "HeadParity",
    "Interval",
    "Level",
    "LimbLimits",
    "Manifest",
    "ModelBundle",
    "ModelSpec",
    "OperatingPoint",
    "Provenance",
    "Purpose",
    "Quantization",
    "Representative",
    "ScoreName",
    "Signature",
    "SiteFile",
    "SiteUse",
    "TensorSpec",
    "TrustedKeys",
    "Variant",
    "add_signature",
    "deployed_sha256",
    "generate_key",
    "load_bundle",
    "load_trusted_keys",
    "sign_bundle",
    "sign_manifest",
    "with_site",
    "write_bundle",
    "write_site",
]

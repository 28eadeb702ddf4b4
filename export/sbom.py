"""What made a bundle, as a CycloneDX bill of materials (ECMA-424)."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions
from uuid import UUID

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from edge_runtime.bundle import Manifest
from edge_runtime.packages import stated_licence

# Which of our distributions made the bundle is decided by what they require.
_ROOT = "osteoedge"


def bill_of_materials(manifest: Manifest, model_sha256: str) -> bytes:
    """Return the bill of a bundle: the model, its training data, and every installed package.

    The same environment and model give the same bytes: no clock, and an identity that is the
    model's own.
    """
    bom = Bom(serial_number=UUID(model_sha256[:32]))
    bom.metadata.timestamp = None  # type: ignore[assignment]
    model = Component(
        name=manifest.name,
        version=manifest.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model_sha256)],
        bom_ref="model",
    )
    bom.metadata.component = model
    bom.components.add(
        Component(
            name=manifest.provenance.dataset,
            type=ComponentType.DATA,
            description=manifest.provenance.source,
            properties=[
                Property(name="osteoedge:licence", value=manifest.provenance.licence),
                Property(name="osteoedge:split_sha256", value=manifest.provenance.split_sha256),
            ],
            bom_ref="dataset",
        )
    )
    for package in _installed():
        bom.components.add(_component(package))
    bom.register_dependency(model, bom.components)
    return (JsonV1Dot6(bom).output_as_string(indent=2) + "\n").encode()


def _installed() -> list[Distribution]:
    found = {package.metadata["Name"].lower(): package for package in distributions()}
    return [found[name] for name in sorted(found)]


def _component(package: Distribution) -> Component:
    name, version = package.metadata["Name"], package.version
    url = PackageURL("pypi", name=name.lower().replace("_", "-"), version=version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION if name == _ROOT else ComponentType.LIBRARY,
        purl=url,
        bom_ref=str(url),
        properties=[Property(name="osteoedge:licence", value=stated_licence(package))],
    )

"""The marked area as a binary Segmentation of the film's size, for viewers that lay it over."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence, seg
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from edge_runtime.decision import to_film
from edge_runtime.preprocess import InputSpec, place
from edge_runtime.reports.device import MANUFACTURER, equipment
from edge_runtime.reports.header import complete_image, read_source, series_description
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.uids import derived_uid, tracking_uid
from edge_runtime.screening import Screening

SERIES_NUMBER = 9903


def lesion_segmentation(
    header: Dataset,
    screening: Screening,
    spec: InputSpec,
    instance: Instance,
) -> Dataset | None:
    """Return the marked area, one segment of one frame; None where nothing is marked.

    Its pixels are of one bit and not compressed: one megabyte for a large film. Sent as Deflated
    Explicit VR Little Endian (PS3.5 A.5) it takes some kilobytes, and no pixel is coded anew; of
    the codings of pixels, those that keep one bit are read by hardly anyone.

    Parameters
    ----------
    header
        The film's data set, with or without pixels.
    screening
        With its mask, so not one that was read again from JSON.

    Raises
    ------
    ResultError
        A DICOM object cannot refer to the film.
    """
    if screening.mask is None or not screening.mask.any():
        return None
    source = read_source(header, screening.source.file)
    shape = source.image.Rows, source.image.Columns
    mask = to_film(screening.mask, place(shape, spec), spec)
    algorithm = AlgorithmIdentificationSequence(
        name=_long_string(screening.bundle.name),
        family=codes.cid7162.ArtificialIntelligence,
        version=_long_string(screening.bundle.version),
        source=MANUFACTURER,
        parameters={"bundle sha256": screening.bundle.sha256, "software": screening.software},
    )
    segment = seg.SegmentDescription(
        segment_number=1,
        segment_label="Possible bone lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(screening, "mask"),
        tracking_id="marked area",
    )
    segmentation = seg.Segmentation(
        source_images=[source.image],
        pixel_array=mask[np.newaxis],
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=instance.series_uid,
        series_number=SERIES_NUMBER,
        series_description=series_description(screening.synthetic),
        sop_instance_uid=instance.uid,
        instance_number=instance.number,
        content_label="LESION",
        content_description=screening.notice,
        **equipment(screening),
    )
    complete_image(segmentation, source, instance.made_at)
    # highdicom draws one at random.
    dimensions = derived_uid("dimensions", instance.uid)
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimensions
    segmentation.DimensionIndexSequence[0].DimensionOrganizationUID = dimensions
    return segmentation


def _long_string(words: str) -> str:
    """Return words as an LO has them (PS3.5 6.2)."""
    return words.replace("\\", "/")[:64]

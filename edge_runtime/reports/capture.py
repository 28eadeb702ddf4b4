"""The overlay picture as a Secondary Capture, for viewers that show no structured report."""

from __future__ import annotations

import cv2
from highdicom import CoordinateSystemNames
from highdicom.sc import ConversionTypeValues, SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGBaseline8Bit

from edge_runtime.dicom_header import text
from edge_runtime.preprocess import InputSpec
from edge_runtime.radiograph import Radiograph
from edge_runtime.reports.device import equipment
from edge_runtime.reports.header import FilmSource, complete_image, read_source, series_description
from edge_runtime.reports.instance import Instance
from edge_runtime.reports.overlay import LONG_SIDE, draw_overlay
from edge_runtime.screening import Screening

# Of the file. 10 s at 256 kbit/s, a link that several units share.
MAX_BYTES = 300_000
SERIES_NUMBER = 9902
# What a header of ours takes at most, without the pixels.
_HEADER_BYTES = 8_000


def secondary_capture(
    header: Dataset,
    radiograph: Radiograph,
    screening: Screening,
    spec: InputSpec,
    instance: Instance,
    *,
    revision: int = 1,
) -> Dataset:
    """Return the film with what was marked, and the standing sentence, as a colour picture.

    The file is of at most :data:`MAX_BYTES`: where a film has too much detail for that, the picture
    is drawn smaller, with words of the same size.

    Parameters
    ----------
    header
        The film's data set, with or without pixels.
    revision
        Of the film; from the second on, the picture says that it supersedes the one before.

    Raises
    ------
    ResultError
        A DICOM object cannot refer to the film.
    """
    source = read_source(header, screening.source.file)
    remarks = [f"Revision {revision}. Supersedes revision {revision - 1}"] if revision > 1 else []
    long_side = LONG_SIDE
    while True:
        picture = draw_overlay(radiograph, screening, spec, long_side=long_side, remarks=remarks)
        image = SCImage(
            pixel_array=cv2.cvtColor(picture, cv2.COLOR_BGR2RGB),
            photometric_interpretation="YBR_FULL_422",
            bits_allocated=8,
            coordinate_system=CoordinateSystemNames.PATIENT,
            # highdicom asks for one; the film's own is put in below.
            patient_orientation=("L", "F"),
            study_instance_uid=source.image.StudyInstanceUID,
            series_instance_uid=instance.series_uid,
            series_number=SERIES_NUMBER,
            series_description=series_description(screening.synthetic),
            sop_instance_uid=instance.uid,
            instance_number=instance.number,
            transfer_syntax_uid=JPEGBaseline8Bit,
            **equipment(screening),
        )
        if len(image.PixelData) + _HEADER_BYTES <= MAX_BYTES:
            break
        long_side = round(0.9 * long_side)
    image.ConversionType = ConversionTypeValues.WSD.value
    image.DerivationDescription = f"The film, and what osteoedge marked. {screening.notice}"
    image.SourceImageSequence = [_film(source)]
    # Of the series, which has pictures of both sides.
    image.Laterality = ""
    # The film's own burned-in words, which may name a person, come along.
    image.BurnedInAnnotation = "NO" if text(header, "BurnedInAnnotation") == "NO" else "YES"
    image.LossyImageCompression = "01"
    image.LossyImageCompressionMethod = "ISO_10918_1"
    image.LossyImageCompressionRatio = f"{picture.nbytes / len(image.PixelData):.2f}"
    complete_image(image, source, instance.made_at)
    image.DateOfSecondaryCapture = image.ContentDate
    image.TimeOfSecondaryCapture = image.ContentTime
    return image


def _film(source: FilmSource) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.image.SOPClassUID
    item.ReferencedSOPInstanceUID = source.image.SOPInstanceUID
    item.SpatialLocationsPreserved = "NO"
    item.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    return item

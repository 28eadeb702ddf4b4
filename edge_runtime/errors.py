"""Every error that a user of osteoedge can meet, as one tree.

Each error says what happened, to which file, and what to do next, in one line. The command line
prints that line and never a traceback; see :mod:`edge_runtime.cli` for the exit codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from edge_runtime.phrases import Phrase, Value


class OsteoedgeError(Exception):
    """Base of the tree.

    Parameters
    ----------
    what
        What happened, without the file name.
    remedy
        What the reader should do next, as an imperative sentence.
    source
        The file, member or key that it happened to, where there is one.
    """

    def __init__(self, what: str, remedy: str, source: str | None = None) -> None:
        self.what = what
        self.remedy = remedy
        self.source = source
        super().__init__(what, remedy, source)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return " ".join(f"{where}{self.what}. {self.remedy}.".split())


class RadiographError(OsteoedgeError):
    """One film cannot be screened; the rest of the batch can.

    Attributes
    ----------
    phrase
        What happened, for people of any language. None where only the workstation meets it.
    """

    phrase: Phrase | None = None

    @classmethod
    def because(cls, name: str, source: str | None = None, /, **values: Value) -> Self:
        """Return the error that the catalogues' tables `[refused]` tell.

        Parameters
        ----------
        name
            Of the phrase; ``NAME_do`` is the remedy.
        source
            The file that it happened to.
        values
            Of the phrase's placeholders. None of them may tell who the patient is.
        """
        # 'osteoedge --help' meets no film, and starts without pydantic.
        from edge_runtime.phrases import Phrase, remedy, say

        phrase = Phrase(key=f"refused.{name}", values=values)
        do = say(remedy(phrase))
        error = cls(say(phrase), do[:1].upper() + do[1:], source)
        error.phrase = phrase
        return error


class NotARadiographError(RadiographError):
    """The file is no image that osteoedge knows, or holds no pixels."""


class UnsupportedRadiographError(RadiographError):
    """A sound file of a kind that is not screened: colour, multi-frame, another modality."""


class CorruptRadiographError(RadiographError):
    """The file is damaged: truncated, undecodable, or its header contradicts its pixels."""


class TransferSyntaxError(RadiographError):
    """The pixels are coded in a way that no installed decoder reads."""


class ResultError(OsteoedgeError):
    """A result cannot be written in the form that was asked for."""


class ContradictionError(RadiographError):
    """What was said of a film when it was sent is not what the film says."""


class BundleError(OsteoedgeError):
    """The bundle is not one, is damaged, or is not for this device."""


class ModelError(OsteoedgeError):
    """A model file is no TFLite file, is damaged, or holds something that we do not run."""


class DelegateError(OsteoedgeError):
    """No delegate, or not the one asked for, can run the bundle here."""


class SpoolError(OsteoedgeError):
    """The unit's durable store cannot be used."""


class SpoolFullError(SpoolError):
    """The unit's durable store has no space left."""


class FeedbackError(OsteoedgeError):
    """What somebody said of a study cannot be taken."""


class UnknownStudyError(FeedbackError):
    """The unit has no such study."""


class UndecidedStudyError(FeedbackError):
    """The unit has not said anything of the study yet, or took it back."""


class ShadowModeError(FeedbackError):
    """What the unit said of the study was said in shadow mode, to nobody."""


class DatasetError(OsteoedgeError):
    """A dataset folder does not follow the layout."""


class ConfigError(OsteoedgeError):
    """A configuration file or option holds a key or value that is not understood."""


class RunError(OsteoedgeError):
    """A training run folder is missing, unfinished or of another version."""


class BenchmarkError(OsteoedgeError):
    """The figures of an earlier measurement cannot be read."""


class GateError(OsteoedgeError):
    """An export or comparison did not meet its stated bounds. Exit code 3."""


class CalibrationError(GateError):
    """A site's films cannot calibrate a bundle, or not for the sensitivity that is asked for."""


class MissingExtraError(OsteoedgeError):
    """A verb needs packages that this installation does not have."""

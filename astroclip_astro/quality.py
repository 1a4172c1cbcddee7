"""The per-object quality bit mask of embeddings."""

from enum import IntFlag

__all__ = ["Quality"]


class Quality(IntFlag):
    """What is known to be imperfect about one embedded object; 0 is a clean object.

    Bits are stable: catalogs store them. Test one with ``(quality & Quality.SATURATED) != 0``.

    Examples
    --------
    >>> from astroclip_astro.quality import Quality
    >>> Quality(5)
    <Quality.PARTIAL_COVERAGE|NON_FINITE: 5>
    >>> Quality(5).names
    ['PARTIAL_COVERAGE', 'NON_FINITE']
    """

    GOOD = 0
    #: Less than 95 % of the model's input grid was filled by real, unmasked data.
    PARTIAL_COVERAGE = 1 << 0
    #: More than half of the pixels inside the observed range are masked or carry no weight.
    MOSTLY_MASKED = 1 << 1
    #: Non-finite pixels were present; they carried no weight.
    NON_FINITE = 1 << 2
    #: Saturated pixels were flagged within the object's footprint.
    SATURATED = 1 << 3
    #: One or more of the model's bands is absent.
    MISSING_BAND = 1 << 4
    #: Outside what the model was trained on (flux, size, pixel scale, or redshift).
    OUT_OF_TRAINING_RANGE = 1 << 5
    #: No usable pixel at all.
    NO_DATA = 1 << 6
    #: The row holds NaN: the object could not be embedded.
    NOT_EMBEDDED = 1 << 7
    #: Median signal-to-noise ratio per pixel below 1.
    LOW_SNR = 1 << 8
    #: No uncertainty was given, and for images none could be measured either: snr is NaN.
    NO_UNCERTAINTY = 1 << 9
    #: The survey's own targeting or classification says that this is no galaxy (sky, star, quasar).
    NOT_A_GALAXY = 1 << 10
    #: Resampled from a pixel scale or resolution coarser than the model's by more than 2 times.
    UNDERSAMPLED = 1 << 11
    #: The survey's own pipeline warned about this object (e.g. ZWARNING, FIBERSTATUS).
    SURVEY_WARNING = 1 << 12

    @property
    def names(self):
        """Names of the bits that are set, lowest bit first (list of str)."""
        return [flag.name for flag in Quality if flag in self]

"""What a kind of data has to say about itself: the class that modality plugins subclass."""

import math

from astroclip_astro.plugins.manager import get_manager

__all__ = ["Modality", "get_modality"]


class Modality:
    """One kind of data: which objects hold it, and how they become batches of tensors.

    Subclass it and write all of its methods but `level` and `model_input`, which have defaults.
    What comes with the package, spectra and images, is written in the same way.

    Attributes
    ----------
    preprocessing : type
        Frozen dataclass of plain values: what a model of this modality was trained with. Its
        instances are stored with the weights of a model as JSON and given to the methods below;
        without arguments it makes the default one.
    largest : float
        Fluxes of which no vector is made, by default only infinite ones.

    Notes
    -----
    A model embeds a modality by a method ``embed_<modality>(x)`` (``-`` becomes ``_``), which takes
    what `model_input` returns: see `astroclip_astro.models.GalaxyModel`.
    """

    preprocessing: type
    largest: float = math.inf

    def accepts(self, obj):
        """Whether an object holds data of this kind, or is a collection of such.

        Parameters
        ----------
        obj : object
            Anything that a user passes to `astroclip_astro.embed`.

        Returns
        -------
        bool
        """
        raise NotImplementedError(f"{type(self).__name__} has no accepts(obj)")

    def is_single(self, obj):
        """Whether an object that `accepts` takes is one object, not a collection that may hold one.

        Parameters
        ----------
        obj : object
            What `accepts` takes.

        Returns
        -------
        bool
        """
        raise NotImplementedError(f"{type(self).__name__} has no is_single(obj)")

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        """Turn an object into records, one for each galaxy and in order.

        Parameters
        ----------
        obj : object
            What `accepts` takes.
        preprocessing : object or None
            Instance of the attribute `preprocessing`; None if the model does not embed this.
        survey : Survey, optional
            How the object is to be understood.
        survey_name : str, optional
            Its registered name, for the records.
        object_id : str, optional
            Name for objects that carry none of their own.

        Yields
        ------
        astroclip_astro.adapters.records.Record
            With ``modality`` set; a `FailedRecord` for a galaxy that cannot be used.

        Raises
        ------
        InputError
            If the object as a whole cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} has no records(obj, …)")

    def batch(self, records, preprocessing, device="cpu"):
        """Stack records into one batch.

        Parameters
        ----------
        records : sequence of Record
            At least one. A `FailedRecord` keeps its place as a row of zeros, ``NOT_EMBEDDED``.
        preprocessing : object
            Instance of the attribute `preprocessing`.
        device : str or torch.device
            Where the tensors go.

        Returns
        -------
        astroclip_astro.adapters.records.Batch
        """
        raise NotImplementedError(f"{type(self).__name__} has no batch(records, …)")

    def level(self, flux):
        """How bright objects are, for the range of what a model was trained on.

        Parameters
        ----------
        flux : torch.Tensor
            ``flux`` of a batch, shape (B, …).

        Returns
        -------
        torch.Tensor
            Shape (B,); by default the mean of `flux`.
        """
        return flux.flatten(1).mean(1)

    def model_input(self, flux, preprocessing):
        """Turn the fluxes of a batch into what the encoder sees, on their device.

        Parameters
        ----------
        flux : torch.Tensor
            ``flux`` of a batch, shape (B, …).
        preprocessing : object
            Instance of the attribute `preprocessing`.

        Returns
        -------
        torch.Tensor
            Shape (B, …); by default `flux` itself.
        """
        return flux


def get_modality(name):
    """Get a registered modality.

    Parameters
    ----------
    name : str
        Its registered name, e.g. ``"spectrum"``.

    Returns
    -------
    Modality
        An instance.

    Raises
    ------
    PluginError
        If no plugin registers this name; the message lists those that are.

    Examples
    --------
    >>> from astroclip_astro.adapters.modality import get_modality
    >>> get_modality("image").preprocessing().bands
    ('g', 'r', 'z')
    """
    return get_manager().load("modality", name)()

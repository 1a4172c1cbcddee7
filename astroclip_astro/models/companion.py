"""The encoder of one more modality, aligned to the space of a model that stays as it is.

The idea, a frozen space that further encoders are trained to reach, is that of "locked-image
tuning": Zhai et al. 2022, LiT: Zero-Shot Transfer with Locked-image text Tuning
(https://arxiv.org/abs/2111.07991).
"""

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.embedding_schema import COMPANION
from astroclip_astro.models.base import GalaxyModel

__all__ = ["Companion"]


class Companion(GalaxyModel):
    """A model together with an encoder of one more modality, whose vectors are in its space.

    What the model embeds by itself, it embeds as before; its vectors and those of the companion can
    be searched with each other, in catalogs that the model alone has made, too.

    Parameters
    ----------
    base : GalaxyModel
        The model, in eval mode; its weights are not trained.
    encoder : torch.nn.Module
        From what `Modality.model_input` returns to vectors (B, embed_dim).
    modality : str
        Registered name of the further modality, one that the model does not embed.

    Attributes
    ----------
    companion_sha256 : str
        SHA-256 of the file of the encoder; ``""`` if it was never saved. Embeddings carry its first
        16 digits in the attribute ``companion_<modality>``.

    Raises
    ------
    ValueError
        If the model embeds the modality already, or is a companion itself.

    Examples
    --------
    >>> from torch import nn
    >>> from astroclip_astro import load_model
    >>> from astroclip_astro.adapters.modality import Modality
    >>> from astroclip_astro.models import Companion
    >>> companion = Companion(load_model(), nn.Linear(3, 128), "image")
    Traceback (most recent call last):
        ...
    ValueError: model 'astroclip-mini' embeds image already
    """

    def __init__(self, base, encoder, modality):
        if isinstance(base, Companion):
            raise ValueError("the model is a companion itself: pass the model that it accompanies")
        if modality in base.modalities:
            raise ValueError(f"model {base.name!r} embeds {modality} already")
        self.modalities = (*base.modalities, modality)
        super().__init__(embed_dim=base.embed_dim)
        self.base, self.companion = base.eval(), modality
        self.encoder = encoder.to(base.device, base.dtype)
        own = get_modality(modality).preprocessing()
        self.preprocessing = {**base.preprocessing, modality: own}
        self.training_range = dict(base.training_range)
        self.name = base.name
        self.weights_sha256 = base.weights_sha256
        self.companion_sha256 = ""

    @property
    def provenance(self):
        """That of the model whose space it is, and which companion it is (dict of str)."""
        own = {f"{COMPANION}{self.companion}": self.companion_sha256[:16]}
        return {**self.base.provenance, **own}

    def set_preprocessing(self, preprocessing):
        """Refused: that of the model is the model's, that of the encoder is in its file.

        Parameters
        ----------
        preprocessing : dict of dict
            Not used.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError("the preprocessing of a companion is that of its file and of its model")

    def train(self, mode=True):
        """Train the encoder only; see `torch.nn.Module.train`.

        Parameters
        ----------
        mode : bool
            Whether to train.

        Returns
        -------
        Companion
            The model itself.
        """
        super().train(mode)
        self.base.eval()
        return self

    def _embedder(self, modality):
        return self.encoder if modality == self.companion else self.base._embedder(modality)

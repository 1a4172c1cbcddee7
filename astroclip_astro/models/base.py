"""What every model that embeds galaxies has in common: provenance, preprocessing, and encode()."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.models.int8 import Int8Linear, int8_works
from astroclip_astro.models.products import bfloat16_pays
from astroclip_astro.notebooks import html_table
from astroclip_astro.quality import Quality

__all__ = ["GalaxyModel"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}

# Numbers in the layers from which on "auto" considers bfloat16: with less, it is not the network
# that takes the time.
_LARGE = 30_000_000


class GalaxyModel(nn.Module):
    """A model that turns galaxies of one or more modalities into vectors.

    Parameters
    ----------
    **config
        The keyword arguments that rebuild the model; kept as `config`.

    Attributes
    ----------
    config : dict
        Keyword arguments that rebuild the architecture.
    preprocessing : dict
        By modality, `SpectrumPreprocessing`, `ImagePreprocessing` or that of another one. It
        belongs to the weights: a model is never called with another model's normalisation.
    training_range : dict
        Lowest and highest `Modality.level`, the mean flux, of the objects that the weights were
        trained on, by modality; empty where the publisher states none.
    name : str
        Registered name of the weights, or the file's name.
    weights_sha256 : str
        SHA-256 of the weights file; ``""`` for weights that were never saved.

    Notes
    -----
    A subclass names its `modalities` and has for each of them a method ``embed_<modality>(x)``
    (``-`` becomes ``_``) from what `Modality.model_input` returns to vectors (B, embed_dim).
    """

    #: Modalities that the model embeds.
    modalities: tuple[str, ...] = ()

    def __init__(self, **config):
        super().__init__()
        self.config = config
        self.preprocessing = {m: get_modality(m).preprocessing() for m in self.modalities}
        self.training_range = {}
        self.name = ""
        self.weights_sha256 = ""

    def set_preprocessing(self, preprocessing):
        """Set the preprocessing that the weights were trained with.

        Parameters
        ----------
        preprocessing : dict of dict
            Plain values by modality, as `preprocessing_dict` returns them.

        Returns
        -------
        GalaxyModel
            The model itself.
        """
        self.preprocessing = {
            m: get_modality(m).preprocessing(**preprocessing[m]) for m in self.modalities
        }
        return self

    def preprocessing_dict(self):
        """Preprocessing as plain values, ready for JSON.

        Returns
        -------
        dict of dict
            By modality.
        """
        return {m: asdict(p) for m, p in self.preprocessing.items()}

    @property
    def preprocessing_hash(self):
        """First 16 hexadecimal digits of the SHA-256 of the preprocessing (str)."""
        text = json.dumps(self.preprocessing_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def provenance(self):
        """What its embeddings carry: model, weights_sha256, preprocessing, dtype (dict of str)."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing_hash,
            "dtype": str(self.compute_dtype).removeprefix("torch."),
        }

    @property
    def device(self):
        """Where the parameters are (torch.device)."""
        return next(self.parameters()).device

    @property
    def dtype(self):
        """Type of the parameters (torch.dtype)."""
        return next(self.parameters()).dtype

    def _reducible(self):
        """Linear layers that may have weights of less precision: their parents, names, and they."""
        blocks = (m for m in self.modules() if getattr(m, "reducible", False))
        parents = (parent for block in blocks for parent in block.modules())
        return [
            (parent, name, layer)
            for parent in parents
            for name, layer in parent.named_children()
            if isinstance(layer, (nn.Linear, Int8Linear))
        ]

    @property
    def compute_dtype(self):
        """Type that the transformers' matrix products are computed in (torch.dtype)."""
        layers = self._reducible()
        return layers[0][2].weight.dtype if layers else self.dtype

    def compute_in(self, dtype):
        """Choose the type that the transformers' matrix products are computed in.

        Everything else stays in float32: the normalisation of the input, LayerNorm, the sums along
        the network, the pooling and the heads.

        Parameters
        ----------
        dtype : {"auto", "float32", "bfloat16", "int8"} or torch.dtype
            ``"auto"`` takes bfloat16 for large models where the device computes in it clearly
            faster, on a CPU by measuring it once, and otherwise changes nothing. ``"int8"`` is for
            inference on CPUs, see `astroclip_astro.models.int8`; it is faster than bfloat16, and
            less precise.

        Returns
        -------
        GalaxyModel
            The model itself. Its weights are rounded: what they were is lost.

        Raises
        ------
        ValueError
            If the type is another one, the weights have been rounded already, the model has no
            layers that could be, or this device cannot compute in int8.

        Examples
        --------
        >>> from astroclip_astro import load_model
        >>> load_model().compute_in("bfloat16").compute_dtype
        torch.bfloat16
        """
        layers = self._reducible()
        name, given = str(dtype).removeprefix("torch."), self.compute_dtype
        if name == "auto":
            large = sum(layer.weight.numel() for *_, layer in layers) >= _LARGE
            if not (large and given == self.dtype and _bfloat16_pays(self.device)):
                return self
            name = "bfloat16"
        if name == str(given).removeprefix("torch."):
            return self
        if name not in _DTYPES:
            known = "', '".join(["auto", *_DTYPES])
            raise ValueError(f"dtype is {name!r}, expected one of '{known}'")
        wanted = _DTYPES[name]
        if given in (torch.bfloat16, torch.int8):
            rounded = str(given).removeprefix("torch.")
            raise ValueError(
                f"the weights of {self.name!r} are rounded to {rounded}: load the model anew"
            )
        if not layers and wanted != torch.float32:
            raise ValueError(
                f"model {self.name!r} has no layers that compute in {name}: take 'auto' or "
                "'float32'"
            )
        if wanted == torch.int8 and not (self.device.type == "cpu" and int8_works()):
            raise ValueError(
                "int8 is for CPUs with the instructions AVX512 VNNI, and the model is on "
                f"{self.device}: take 'bfloat16' or 'auto'"
            )
        for parent, child, layer in layers:
            setattr(parent, child, Int8Linear(layer) if wanted == torch.int8 else layer.to(wanted))
        return self

    @property
    def embed_dim(self):
        """Length of the embedding vectors, the same for all modalities (int)."""
        return self.config["embed_dim"]

    @torch.inference_mode()
    def encode(self, flux, modality):
        """Embed a batch that an adapter made.

        Parameters
        ----------
        flux : torch.Tensor
            Spectra (B, L, 1) in 1e-17 erg s-1 cm-2 Å-1 on the model's wavelength grid, images
            (B, band, row, column) in nanomaggies on the model's pixel grid, or what the batches of
            another modality hold.
        modality : str
            What the batch holds.

        Returns
        -------
        torch.Tensor
            Shape (B, embed_dim), float32 (float64 if the parameters are), on the CPU; NaN for an
            object whose flux is somewhere not finite, or `Modality.largest` or more.

        Raises
        ------
        ValueError
            If the model does not embed this modality.
        """
        vectors = self.vectors(flux, modality)
        return vectors.to("cpu", torch.promote_types(vectors.dtype, torch.float32))

    def vectors(self, flux, modality):
        """Embed a batch as `encode` does, where the model is and with gradients if there are any.

        Parameters
        ----------
        flux : torch.Tensor
            As `encode` takes it.
        modality : str
            What the batch holds.

        Returns
        -------
        torch.Tensor
            Shape (B, embed_dim); NaN for an object whose flux is somewhere not finite, or
            `Modality.largest` or more.

        Raises
        ------
        ValueError
            If the model does not embed this modality.
        """
        if modality not in self.modalities:
            known = " and ".join(self.modalities)
            raise ValueError(f"model {self.name!r} embeds {known}, not {modality!r}")
        flux = flux.to(self.device, self.dtype)
        kind = get_modality(modality)
        x = kind.model_input(flux, self.preprocessing[modality])
        vectors = self._embedder(modality)(x)
        # The colours of an image are black where its flux is NaN: they would not tell.
        usable = (flux.abs() < kind.largest).flatten(1).all(1, keepdim=True)
        return vectors.masked_fill(~usable, torch.nan)

    def _embedder(self, modality):
        """What makes vectors of `Modality.model_input`."""
        return getattr(self, f"embed_{modality.replace('-', '_')}")

    def out_of_range(self, flux, modality):
        """Which objects are brighter or fainter than all that the model was trained on.

        Parameters
        ----------
        flux : torch.Tensor
            A batch as `encode` takes it.
        modality : str
            What the batch holds.

        Returns
        -------
        numpy.ndarray
            Shape (B,), int64: ``Quality.OUT_OF_TRAINING_RANGE`` or 0.
        """
        low, high = self.training_range.get(modality, (-np.inf, np.inf))
        level = get_modality(modality).level(flux).cpu().numpy()
        return np.where((level < low) | (level > high), int(Quality.OUT_OF_TRAINING_RANGE), 0)

    def _repr_html_(self):
        about = html_table(
            f"{type(self).__name__} {self.name!r}",
            [
                ("modalities", ", ".join(self.modalities)),
                ("vectors", f"{self.embed_dim} numbers"),
                ("parameters", f"{sum(p.numel() for p in self.parameters()):,}"),
                ("device", f"{self.device}, {self.compute_dtype}".replace("torch.", "")),
                ("SHA-256 of the weights", self.weights_sha256 or "not saved"),
            ],
        )
        settings = [
            (modality, name, value)
            for modality, values in self.preprocessing_dict().items()
            for name, value in values.items()
        ]
        title = f"preprocessing {self.preprocessing_hash}"
        header = ("modality", "setting", "value")
        return about + html_table(title, settings, header=header, folded=True)

    def __repr__(self):
        parameters = sum(p.numel() for p in self.parameters())
        modalities = " and ".join(self.modalities)
        return (
            f"<{type(self).__name__} {self.name!r}: {modalities} to {self.embed_dim} numbers, "
            f"{parameters / 1e6:.1f} M parameters>"
        )


def _bfloat16_pays(device):
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bfloat16_pays()

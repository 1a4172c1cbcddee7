"""Pre-training of a spectrum encoder without labels: by how much a spectrum was redshifted.

One of two observations of a galaxy is moved in wavelength by a known factor 1 + a before noise and
instrument are added. The encoder has to give that shift, ln(1 + a), as the difference of two
numbers that it makes of each spectrum alone. The simplest number that does so for every galaxy is
ln(1 + z) plus a constant: the redshift is learned, and no redshift is given.
The idea is that of relative pitch in sound (Gfeller et al. 2020, IEEE/ACM TASLP 28, 1118,
https://arxiv.org/abs/1910.11664). At the same time some runs of tokens are hidden, as in masked
modelling, and every token has to give the noiseless lines of its part of the spectrum.
"""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["RelativeRedshift", "without_continuum"]

LARGEST_SHIFT = 0.1
HIDDEN_RUNS, HIDDEN_TOKENS = 3, 5
CONTINUUM_PIXELS = 401  # 320 Å
LINES_WEIGHT = 0.3
# Periods in ln(1 + z) of the angles that are linear in the vector. Neighbours among vectors are
# neighbours in redshift if redshift moves a vector along a curve that is long compared with the
# rest of the space; the more periods a curve goes through, the longer it is.
PERIODS = (0.8, 0.4, 0.2, 0.1, 0.05)
PHASES_WEIGHT = 0.5


def without_continuum(flux):
    """Lines of noiseless spectra, relative to the spread of the whole spectrum.

    Parameters
    ----------
    flux : torch.Tensor
        Shape (B, L), float32.

    Returns
    -------
    torch.Tensor
        Shape (B, L), between -3 and 3.

    Examples
    --------
    >>> import torch
    >>> from astroclip_astro.training.mini.relative_redshift import without_continuum
    >>> without_continuum(torch.ones(1, 2000)).abs().max().item() < 1e-5
    True
    """
    n = CONTINUUM_PIXELS
    total = F.pad(flux, (n // 2 + 1, n // 2), mode="replicate").double().cumsum(1)
    continuum = ((total[:, n:] - total[:, :-n]) / n).float()
    spread = flux.std(1, keepdim=True) + 0.05 * continuum.abs().mean(1, keepdim=True) + 1e-3
    return ((flux - continuum) / spread).clamp(-3, 3)


class RelativeRedshift(nn.Module):
    """The pre-training task and the two small heads that it needs besides the encoder.

    Parameters
    ----------
    encoder : astroclip_astro.models.astroclip.Encoder
        Of spectra: a SpecFormer and its pooling.
    observer : MockObserver
        The galaxies.

    Examples
    --------
    Training on it is a step of the recipe in `astroclip_astro.training.mini`.
    """

    def __init__(self, encoder, observer):
        super().__init__()
        self.encoder = encoder
        self.observer = observer
        width = encoder.mlp.decoder.out_features
        self.position = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)
        )
        self.phases = nn.Linear(width, 2 * len(PERIODS))
        self.register_buffer("frequency", 2 * torch.pi / torch.tensor(PERIODS))
        backbone = encoder.backbone
        self.section = backbone.config["slice_section_length"]
        self.stride = self.section - backbone.config["slice_overlap"]
        self.lines = nn.Linear(backbone.embed_dim, self.section)

    def views(self, index):
        """One observation of each galaxy as it is, and one that is shifted.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.

        Returns
        -------
        observed : torch.Tensor
            Shape (2 B, L, 1), first the galaxies as they are.
        noiseless : torch.Tensor
            What was observed, shape (2 B, L).
        shift : torch.Tensor
            ln of the factor on the wavelengths of the second half, shape (B,).
        """
        factor = 1 + LARGEST_SHIFT * (2 * torch.rand(len(index)) - 1)
        observer = self.observer
        plain, shifted = observer.noiseless(index), observer.noiseless(index, factor)
        # One window for all shifted ones, inside what every shift leaves: its ends tell nothing.
        first, last = observer.wavelength[[0, -1]].tolist()
        window = first * (1 + LARGEST_SHIFT), last * (1 - LARGEST_SHIFT)
        observed = torch.cat(
            [
                observer.spectra(index, flux=plain),
                observer.spectra(index, flux=shifted, window=window),
            ]
        )
        return observed, torch.cat([plain, shifted]), torch.log(factor)

    def forward(self, index):
        """Loss of one batch.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.

        Returns
        -------
        loss : torch.Tensor
            Scalar.
        parts : dict of torch.Tensor
            ``shift`` and ``lines``, and ``error``, the median error of the shifts.
        """
        observed, noiseless, wanted_shift = self.views(index)
        backbone = self.encoder.backbone
        tokens = backbone.preprocess(observed)
        n, length = tokens.shape[:2]
        start = torch.randint(1, length - HIDDEN_TOKENS + 1, (n, HIDDEN_RUNS, 1))
        hidden = torch.zeros(n, length, dtype=torch.bool)
        hidden.scatter_(1, (start + torch.arange(HIDDEN_TOKENS)).flatten(1), True)
        out = backbone.forward_tokens(tokens.masked_fill(hidden[..., None], 0))
        vectors = self.encoder.pool(out)[0]
        first, second = self.position(vectors).float().squeeze(-1).chunk(2)
        error = second - first - wanted_shift
        pair = self.phases(vectors).float().unflatten(1, (-1, 2))
        angle = torch.atan2(pair[..., 1], pair[..., 0])
        before, after = angle.chunk(2)
        phases = (1 - torch.cos(after - before - wanted_shift[:, None] * self.frequency)).mean()
        shift = F.smooth_l1_loss(10 * error, torch.zeros_like(error), beta=0.1)
        wanted = without_continuum(noiseless).unfold(1, self.section, self.stride)
        lines = F.smooth_l1_loss(self.lines(out[:, 1:]).float(), wanted[:, : length - 1], beta=0.5)
        parts = {"shift": shift, "phases": phases, "lines": lines, "error": error.detach().abs().median()}
        return shift + PHASES_WEIGHT * phases + LINES_WEIGHT * lines, parts

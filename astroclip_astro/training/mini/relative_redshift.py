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
PLAIN = 0.25  # share of the pairs of which one is as observed, in wavelength and coverage
HIDDEN_RUNS, HIDDEN_TOKENS = 3, 5
CONTINUUM_PIXELS = 401  # 320 Å
LINES_WEIGHT = 0.3
# Periods in ln(1 + z) of the angles that are linear in the vector. Neighbours among vectors are
# neighbours in redshift if redshift moves a vector along a curve that is long compared with the
# rest of the space; the more periods a curve goes through, the longer it is.
PERIODS = (0.8, 0.4, 0.2, 0.1, 0.05, 0.025)
PHASES_WEIGHT = 0.2


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
        """Two observations of each galaxy at different redshifts.

        Parameters
        ----------
        index : torch.Tensor
            Which objects, shape (B,), int64.

        Returns
        -------
        observed : torch.Tensor
            Shape (2 B, L, 1), first one of each galaxy, then the other.
        noiseless : torch.Tensor
            What was observed, shape (2 B, L).
        shift : torch.Tensor
            By how much ln(1 + z) of the second half is above that of the first, shape (B,).
        """
        factor = 1 + LARGEST_SHIFT * (2 * torch.rand(2, len(index)) - 1)
        plain = torch.rand(len(index)) < PLAIN
        factor[0, plain] = 1
        observer = self.observer
        # One window for all that are shifted, inside what every shift leaves: its ends tell
        # nothing.
        first, last = observer.wavelength[[0, -1]].tolist()
        window = first * (1 + LARGEST_SHIFT), last * (1 - LARGEST_SHIFT)
        noiseless = [observer.noiseless(index, one) for one in factor]
        observed = [
            observer.spectra(index, flux=flux, window=window, windowed=windowed)
            for flux, windowed in zip(noiseless, (~plain, torch.ones_like(plain)), strict=True)
        ]
        return torch.cat(observed), torch.cat(noiseless), torch.log(factor[1] / factor[0])

    def compare(self, first, second, shift):
        """Loss of the shifts between pairs of vectors.

        Parameters
        ----------
        first, second : torch.Tensor
            Vectors of the two observations of each galaxy, shape (B, embed_dim).
        shift : torch.Tensor
            By how much ln(1 + z) of the second is above that of the first, shape (B,).

        Returns
        -------
        loss : torch.Tensor
            Scalar.
        parts : dict of torch.Tensor
            ``shift`` and ``phases``, its terms, and ``correlation`` of the shifts with the true
            ones.
        """
        found = (self.position(second) - self.position(first)).squeeze(1)
        error = found - shift
        linear = F.smooth_l1_loss(10 * error, torch.zeros_like(error), beta=0.1)
        before, after = (
            torch.atan2(pair[..., 1], pair[..., 0])
            for pair in (self.phases(v).unflatten(1, (-1, 2)) for v in (first, second))
        )
        phases = (1 - torch.cos(after - before - shift[:, None] * self.frequency)).mean()
        correlation = torch.corrcoef(torch.stack([found, shift]).detach())[0, 1]
        parts = {"shift": linear, "phases": phases, "correlation": correlation}
        return linear + PHASES_WEIGHT * phases, parts

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
            Those of `compare`, and ``lines``.
        """
        observed, noiseless, shift = self.views(index)
        backbone = self.encoder.backbone
        tokens = backbone.preprocess(observed)
        n, length = tokens.shape[:2]
        start = torch.randint(1, length - HIDDEN_TOKENS + 1, (n, HIDDEN_RUNS, 1))
        hidden = torch.zeros(n, length, dtype=torch.bool)
        hidden.scatter_(1, (start + torch.arange(HIDDEN_TOKENS)).flatten(1), True)
        out = backbone.forward_tokens(tokens.masked_fill(hidden[..., None], 0))
        with torch.autocast(out.device.type, enabled=False):
            redshift, parts = self.compare(*self.encoder.pool(out.float())[0].chunk(2), shift)
        wanted = without_continuum(noiseless).unfold(1, self.section, self.stride)
        lines = F.smooth_l1_loss(self.lines(out[:, 1:]).float(), wanted[:, : length - 1], beta=0.5)
        return redshift + LINES_WEIGHT * lines, parts | {"lines": lines}

"""``astroclip demo``: the bundled model on bundled mock galaxies, with no network."""

from pathlib import Path

import click

from astroclip_astro.cli.printing import printing

__all__ = ["demo"]

_QUERIES, _NEIGHBOURS = 5, 3


@click.command()
@click.option(
    "-o",
    "--output",
    default="astroclip-demo.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Figure to write.",
)
@printing
def demo(output, report):
    """Embed mock spectra and images and find each galaxy's neighbours across modalities.

    Example: astroclip demo -o neighbours.png
    """
    import numpy as np

    import astroclip_astro as aa
    from astroclip_astro.simulate import MockSurvey

    survey = MockSurvey.bundled()
    every = range(len(survey))
    spectra = aa.embed([survey.spectrum(i) for i in every], progress=False)
    images = aa.embed([survey.cutout(i) for i in every], progress=False)
    lines = [
        f"{len(survey)} mock galaxies that {spectra.attrs['model']} was not trained on, "
        f"embedded twice: spectrum and image → {spectra.sizes['feature']} numbers each",
        "",
        "spectrum (z true)          its nearest images (cosine, z true)",
    ]
    redshift = np.asarray(survey.truth["redshift"])
    similarity = spectra.astroclip.similarity(images).to_numpy()
    # Queries at evenly spaced ranks of redshift, so that near and far galaxies are both shown.
    order = np.argsort(redshift)
    queries = order[np.linspace(0, len(order) - 1, _QUERIES + 2).astype(int)[1:-1]]
    nearest = np.argsort(-similarity[queries], axis=1)[:, :_NEIGHBOURS]
    for query, found in zip(queries, nearest, strict=True):
        cells = "   ".join(
            f"{'*' if i == query else ' '}{similarity[query, i]:.2f} z={redshift[i]:.3f}"
            for i in found
        )
        lines.append(f"{spectra.object_id.values[query]:18s} z={redshift[query]:.3f}   {cells}")
    rank = (similarity > np.diag(similarity)[:, None]).sum(1) + 1
    lines += [
        "",
        f"* the galaxy's own image. Among all {len(survey)} images it ranks "
        f"{np.median(rank):.0f} in the median; by chance that would be {len(survey) / 2:.0f}.",
    ]
    result = {
        "output": output,
        "objects": len(survey),
        "median_rank": np.median(rank),
        "queries": [
            {
                "object_id": spectra.object_id.values[query],
                "redshift": redshift[query],
                "nearest": [
                    {
                        "object_id": images.object_id.values[i],
                        "score": similarity[query, i],
                        "redshift": redshift[i],
                    }
                    for i in found
                ],
            }
            for query, found in zip(queries, nearest, strict=True)
        ],
    }
    try:
        import matplotlib as mpl
    except ImportError:
        result["output"] = None
        lines.append("No figure: matplotlib is missing (pip install 'astroclip_astro[plot]').")
    else:
        mpl.use("agg")
        _draw(survey, redshift, similarity, queries, nearest).savefig(output, dpi=110)
        lines.append(f"figure → {output}")
    report(result, lines)


def _draw(survey, redshift, similarity, queries, nearest):
    """One row per query: its spectrum, its own image, and the images nearest to the spectrum."""
    import torch
    from matplotlib.figure import Figure

    from astroclip_astro.adapters.image import ImagePreprocessing, to_rgb

    figure = Figure(figsize=(13, 2.1 * len(queries)), layout="constrained")
    axes = figure.subplots(
        len(queries), 2 + _NEIGHBOURS, width_ratios=[3.2, *[1] * (1 + _NEIGHBOURS)]
    )
    for row, (query, found) in enumerate(zip(queries, nearest, strict=True)):
        spectrum = survey.spectrum(query)
        # Ten-pixel means, so that the eye finds the lines that the noise of 0.8 Å pixels hides.
        wavelength, flux = (
            x.value[: len(x) // 10 * 10].reshape(-1, 10).mean(1)
            for x in (spectrum.spectral_axis, spectrum.flux)
        )
        left = axes[row, 0]
        left.plot(wavelength, flux, lw=0.7, color="#0072b2")
        left.set(xlim=(3600, 9824), ylabel="flux")
        left.text(0.01, 0.97, f"z = {redshift[query]:.3f}", transform=left.transAxes, va="top")
        for column, i in enumerate((query, *found), start=1):
            image = torch.from_numpy(survey.cutout(i).data)
            rgb = to_rgb(image, ImagePreprocessing()).movedim(0, -1).numpy()
            panel = axes[row, column]
            panel.imshow(rgb, origin="lower")
            panel.set(xticks=[], yticks=[])
            if column == 1:
                panel.set_xlabel(f"z = {redshift[i]:.3f}")
            else:
                same = " (itself)" if i == query else ""
                panel.set_xlabel(f"{similarity[query, i]:.2f}, z = {redshift[i]:.3f}{same}")
    axes[0, 0].set_title("spectrum (1e-17 erg/s/cm²/Å)")
    axes[0, 1].set_title("its own image")
    axes[0, 2].set_title("nearest images (cosine)", loc="left")
    axes[-1, 0].set_xlabel("wavelength in vacuum (Å)")
    return figure

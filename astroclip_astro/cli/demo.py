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
        from astroclip_astro.plot import neighbors_sheet
    except ImportError:
        result["output"] = None
        lines.append("No figure: matplotlib is missing (pip install 'astroclip_astro[plot]').")
        report(result, lines)
        return
    from astropy.table import QTable
    from matplotlib.figure import Figure

    found = QTable(survey.truth[["object_id", "redshift"]][nearest.ravel()])
    found["query"] = np.repeat(np.arange(_QUERIES), _NEIGHBOURS)
    found["score"] = np.take_along_axis(similarity[queries], nearest, axis=1).ravel()
    row = {str(name): i for i, name in enumerate(survey.truth["object_id"])}
    figure = Figure(figsize=(11, 2.3 * _QUERIES), layout="constrained")
    neighbors_sheet(
        found,
        [survey.spectrum(i) for i in queries],
        lambda name: survey.cutout(row[name]),
        figure=figure,
    )
    figure.savefig(output, dpi=110)
    lines.append(f"figure → {output}")
    report(result, lines)

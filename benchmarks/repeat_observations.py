"""Rank the second observation of a galaxy among all other spectra by similarity.

Give files of spectra. Those within 1 arcsec of each other are one galaxy seen again; for each such
pair the rank of the second among all other spectra by cosine similarity is printed, both ways.
"""

import click
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from header import print_header

import astroclip_astro as aa


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--model", default=None, help="Name or path; default: the bundled model.")
def main(files, model):
    print_header("torch")
    embeddings = aa.embed(list(files), model=model, errors="flag")
    embeddings = embeddings[embeddings.astroclip.valid.to_numpy()]
    names = embeddings.object_id.to_numpy()
    similarity = embeddings.astroclip.similarity().to_numpy()
    position = SkyCoord(
        np.nan_to_num(embeddings.ra.to_numpy()) * u.deg,
        np.nan_to_num(embeddings.dec.to_numpy()) * u.deg,
    )
    known = np.isfinite(embeddings.ra.to_numpy())
    print(f"{len(embeddings)} spectra embedded by {embeddings.attrs['model']}\n")
    print(f"{'query':26s}{'its repeat':26s}{'z':>8s}{'cosine':>9s}{'rank':>6s}  nearer than")
    i, j, _, _ = position.search_around_sky(position, 1 * u.arcsec)
    for a, b in zip(i, j, strict=True):
        if a == b or not (known[a] and known[b]) or names[a] == names[b]:
            continue
        others = np.delete(similarity[a], [a, b])
        rank = 1 + int((others > similarity[a, b]).sum())
        print(
            f"{names[a]:26s}{names[b]:26s}{float(embeddings.redshift[a]):8.4f}"
            f"{similarity[a, b]:9.4f}{rank:6d}  {np.mean(others < similarity[a, b]):.1%}"
        )


if __name__ == "__main__":
    main()

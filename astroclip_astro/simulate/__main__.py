"""``python -m astroclip_astro.simulate``: make a mock survey."""

import click


@click.command()
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--n", default=1000, show_default=True, help="Number of galaxies.")
@click.option("--seed", default=0, show_default=True, help="Decides everything that is drawn.")
@click.option("--jobs", default=None, type=int, help="Processes; all processors by default.")
@click.option("--shard-size", default=500, show_default=True, help="Galaxies per file.")
def main(out, n, seed, jobs, shard_size):
    """Simulate N galaxies into the folder OUT, or finish a run that was interrupted."""
    from astroclip_astro.simulate import MockSurvey

    click.echo(repr(MockSurvey.generate(out, n, seed=seed, n_jobs=jobs, shard_size=shard_size)))


if __name__ == "__main__":
    main()

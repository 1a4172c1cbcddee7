"""Draw the pictures of docs/figures.md: what each of its examples draws above the picture."""

import doctest
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from matplotlib import pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"


@click.command()
@click.option("--out", default=DOCS / "images", type=click.Path(file_okay=False, path_type=Path))
def main(out):
    plt.switch_backend("agg")
    page = (DOCS / "figures.md").read_text(encoding="utf-8")
    out, runner, names = out.resolve(), doctest.DocTestRunner(), {}
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        for text, path in re.findall(r"(.*?)\]\(images/(.*?\.jpg)\)", page, flags=re.DOTALL):
            examples = doctest.DocTestParser().get_doctest(text, names, path, None, 0)
            runner.run(examples, clear_globs=False)
            names = examples.globs
            # Of several, that of the first.
            figure = plt.figure(plt.get_fignums()[0])
            figure.savefig(out / path, dpi=72, pil_kwargs={"quality": 85})
            plt.close("all")
            click.echo(f"{path}: {(out / path).stat().st_size / 1000:.0f} kB")
        os.chdir(out)
    if runner.failures:
        raise click.ClickException("examples fail")


if __name__ == "__main__":
    main()

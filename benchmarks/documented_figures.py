"""Draw the pictures of the pages of docs/: what each page's examples draw above the picture."""

import doctest
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from matplotlib import pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURE = r"!\[[^]]*\]\((?:\.\./)?images/(\S+\.jpg)\)"


def illustrated():
    """Pages with pictures that their examples draw."""
    pages = sorted(DOCS.rglob("*.md"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    return {
        page.stem: page
        for page, text in texts.items()
        if ">>> " in text and re.search(PICTURE, text)
    }


@click.command()
@click.argument("names", nargs=-1, metavar="[PAGE]...")
@click.option("--out", default=DOCS / "images", type=click.Path(file_okay=False, path_type=Path))
def main(names, out):
    """Draw the pictures of some pages, by default of all.

    Example: python benchmarks/documented_figures.py figures siblings
    """
    plt.switch_backend("agg")
    out, pages = out.resolve(), illustrated()
    if unknown := set(names) - set(pages):
        raise click.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(pages)}")
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        failures = sum(draw(pages[name], out) for name in names or pages)
        os.chdir(out)
    if failures:
        raise click.ClickException("examples fail")


def draw(page, out):
    """Draw the pictures of a page, and say how many of its examples failed."""
    runner, names = (
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS),
        {},
    )
    text = page.read_text(encoding="utf-8")
    for part, name in re.findall(rf"(.*?){PICTURE}", text, flags=re.DOTALL):
        examples = doctest.DocTestParser().get_doctest(part, names, str(page), None, 0)
        runner.run(examples, clear_globs=False)
        names = examples.globs
        # Of several, that of the first.
        figure = plt.figure(plt.get_fignums()[0])
        figure.savefig(out / name, dpi=72, pil_kwargs={"quality": 85})
        plt.close("all")
        click.echo(f"{name}: {(out / name).stat().st_size / 1000:.0f} kB")
    return runner.failures


if __name__ == "__main__":
    main()

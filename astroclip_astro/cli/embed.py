"""``astroclip embed``: files in, a table of embeddings out."""

import os
import signal
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing
from astroclip_astro.errors import InputError

__all__ = ["embed"]

_SIZE = 256  # objects in a part: what a kill costs at most, beside the rest of a file


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=True, path_type=Path),
    help="Where to write: .parquet, .nc, .zarr, .fits, .vot or .ecsv.",
)
@click.option(
    "--model",
    type=Registered("model", files=True),
    help="Name, checkpoint or .safetensors file; default: the bundled model.",
)
@click.option(
    "--survey", type=Registered("survey"), help="How to read the files; default: recognise each."
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, mps, cuda:1 … Several, as cuda:0,cuda:1, have a process each.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Precision of the network; auto: bfloat16 for large models where it is faster.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Objects per forward pass.")
@click.option(
    "--errors",
    type=click.Choice(["flag", "raise"]),
    default="flag",
    show_default=True,
    help="Keep objects that cannot be embedded as NaN rows, or stop at the first.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes, each with a model of its own."
)
@click.option("--resume", is_flag=True, help="Go on with what an interrupted run has done.")
@click.option(
    "--overwrite", is_flag=True, help="Replace an existing output, and what such a run has done."
)
@printing
def embed(
    files,
    output,
    model,
    survey,
    device,
    dtype,
    batch_size,
    errors,
    workers,
    resume,
    overwrite,
    report,
):
    """Embed spectra and cutouts from FILES.

    Every object of every file becomes one row, in the order given. A folder stands for the FITS
    files in it, @LIST for those that the file LIST names, one a line, and @- for those that are
    named on stdin.

    What is done is kept in OUTPUT.parts until all is: --resume goes on from there. Memory does not
    grow with the number of objects, except to write formats other than .parquet.

    Example: astroclip embed spec-*.fits -o embeddings.parquet
    """
    # Checked before the work, so that an hour of embedding is not lost to a typing error.
    from astroclip_astro.embeddings import check_output

    output = check_output(output, overwrite=overwrite)

    from astroclip_astro.inputs import records
    from astroclip_astro.notebooks import progress_bar
    from astroclip_astro.pipeline.batches import embedded, now, versions
    from astroclip_astro.pipeline.parts import Parts
    from astroclip_astro.pipeline.processes import embed_in_processes, gathered, several
    from astroclip_astro.weights import as_model, load_model

    devices = device.split(",")
    device = devices if len(devices) > 1 else device
    apart = several(workers, device)
    loaded = (load_model if apart else as_model)(model, device=devices[0], dtype=dtype)
    made = loaded.provenance | {"survey": survey or "", "errors": errors, "versions": versions()}
    with (
        _terminating(),
        Parts(output, made, now(), resume=resume, overwrite=overwrite) as parts,
        _saying(parts),
    ):
        rest = parts.rest(_named(files))
        how = {"batch_size": batch_size, "raising": errors == "raise", "date": parts.date}
        if apart:
            del loaded  # each process has its own
            how |= {"survey": survey, "dtype": made["dtype"]}  # "auto" is decided once
            steps = gathered(embed_in_processes(rest, model, device, workers, **how), _SIZE)
        else:
            about = {"preprocessing": loaded.preprocessing, "survey": survey}
            groups = (records(file, **about) for file in rest)
            steps = embedded(groups, loaded, size=_SIZE, **how)
        with closing(steps), progress_bar(initial=parts.objects, unit="object") as bar:
            for done, part in steps:
                parts.add(part, done)
                bar.update(len(part))
        if not parts.embedded:
            none = f"none of the {parts.objects} objects could be embedded; see the log"
            parts.abandon()
            raise InputError(none)
        parts.finish()
    flags = dict(parts.flags.most_common())
    report(
        {"output": output, "objects": parts.objects, "embedded": parts.embedded, "flags": flags},
        [
            f"{parts.embedded} of {parts.objects} objects embedded → {output}",
            *(f"{count:8d}  {flag}" for flag, count in flags.items()),
        ],
    )


def _named(files):
    """Paths of the files, also those in folders and in lists of names."""
    from astroclip_astro.surveys.files import is_fits

    for file in files:
        if file.startswith("@") and not os.path.exists(file):
            # For stdin a stream of its own, as Python ends badly if a thread waits for sys.stdin.
            name = sys.stdin.fileno() if file == "@-" else file[1:]
            with open(name, encoding="utf-8", closefd=file != "@-") as lines:
                yield from filter(None, (line.rstrip("\r\n") for line in lines))
        elif os.path.isdir(file):
            found = sorted(filter(is_fits, os.listdir(file)))
            if not found:
                raise InputError("no FITS files are in this folder", object_id=file)
            yield from (os.path.join(file, name) for name in found)
        else:
            yield file


@contextmanager
def _terminating():
    """Being asked to end is an interrupt, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _saying(parts):
    """Whatever ends the work, what is done is not lost."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"interrupted: {parts}" if parts.objects else "") from error
    except Exception:
        if parts.objects:
            click.echo(f"astroclip: {parts}", err=True)
        raise

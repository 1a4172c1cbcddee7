"""``astroclip export``: an encoder as a file of ONNX or torch.export."""

from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing

__all__ = ["export"]


@click.command()
@click.argument("model", type=Registered("model", files=True))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write: .onnx or .pt2.",
)
@click.option(
    "--modality",
    required=True,
    type=click.Choice(["spectrum", "image"]),
    help="Which of its encoders.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@printing
def export(model, output, modality, overwrite, report):
    """Write an encoder of MODEL, with its preprocessing, for other programs.

    MODEL is a name, a checkpoint or a .safetensors file. What is written is compared with the
    model, and kept only if it agrees.

    Example: astroclip export astroclip-mini -o spectrum.onnx --modality spectrum
    """
    from astroclip_astro.export import export as write

    checked = write(model, output, modality=modality, overwrite=overwrite)
    report(
        {"output": output, "modality": modality, **checked},
        f"{modality} encoder of {model} → {output}, "
        f"which differs from it by {checked['difference']:.0e} of the largest number",
    )

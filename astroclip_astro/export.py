"""Encoders with their preprocessing as files that run without this package: ONNX and .pt2."""

import json
import logging
import warnings
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version

import torch
from torch import nn

from astroclip_astro.adapters.flux_density import FLUX_UNIT
from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.embedding_schema import COMPANION
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.output import check_target, replacing
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.weights import as_model

__all__ = ["METADATA", "SUFFIXES", "TOLERANCE", "export"]

#: Suffixes of the formats: ONNX, and programs of `torch.export`.
SUFFIXES = (".onnx", ".pt2")

#: Name of the extra file of a .pt2 that holds the metadata, as JSON.
METADATA = "astroclip_astro.json"

#: Largest difference to `GalaxyModel.encode` that a file may have, relative to the largest number
#: of the vectors; and of one minus the cosine, with the square of it.
TOLERANCE = 1e-4

# Bytes that a file of ONNX can hold, less some for the graph itself.
_ONNX_HOLDS = 2**31 - 2**24

# What torch and onnxscript log of every export: operators of a package that is not used, and folds
# that they leave to the runtime.
_CHATTER = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
)


class _Graph(nn.Module):
    """What is recorded: from the flux of a batch to vectors, as `GalaxyModel.encode` does it."""

    def __init__(self, model, modality):
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, flux):
        return self.model.vectors(flux, self.modality)


def export(model, path, *, modality, overwrite=False):
    """Write the encoder of one modality, with its preprocessing, for other programs.

    Parameters
    ----------
    model : str, path-like or GalaxyModel
        As `astroclip_astro.embed` takes it, in float32.
    path : path-like
        Where to write: ``.onnx`` for ONNX, which needs the extra ``export``, or ``.pt2`` for
        `torch.export`.
    modality : {"spectrum", "image"}
        Which of its encoders.
    overwrite : bool
        Whether the file may exist.

    Returns
    -------
    dict of float
        How far its vectors were from those of the model: ``difference``, the largest of their
        numbers' relative to the largest number, and ``one_minus_cosine``.

    Raises
    ------
    InputError
        If the model does not embed the modality or is not in float32, if the modality is a
        further one, the suffix unknown, a package missing, or the encoder too large for the format.
    FileExistsError
        If there is a file already and `overwrite` is not set.
    AstroclipError
        If the file does not give the vectors of the model; then none is left.
    PluginError, WeightsError
        If the model is unknown or does not load.

    Notes
    -----
    The graph's input ``flux`` is ``flux`` of a batch that the adapters made, float32: spectra
    (B, n_pixels, 1) in 1e-17 erg s-1 cm-2 Å-1 on the model's wavelength grid, or images
    (B, band, row, column) in nanomaggies on its pixel grid, for any B. Its output ``vectors`` is
    what `GalaxyModel.encode` makes of it, shape (B, embed_dim), float32: NaN for an object whose
    flux is somewhere not finite, or 1e15 or more. Reading files, units, masks, resampling and
    flags are not part of the graph.

    Each file is run before it is given its name, on batches of one and of three drawn from a seed,
    one object of which has a NaN. A difference of more than `TOLERANCE` is an error.

    The file says what it is, by ``metadata_props`` of ONNX and the extra file `METADATA` of .pt2.
    No part of either is a pickle; but `torch.export.load` unpickles if a file tells it to, so do
    not load a .pt2 that you do not trust.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from astroclip_astro.export import export
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "spectrum.pt2")
    ...     checked = export("astroclip-mini", path, modality="spectrum")
    ...     program = torch.export.load(path)
    >>> checked["difference"] < 1e-4
    True
    >>> program.module()(torch.ones(5, 7781, 1)).shape
    torch.Size([5, 128])
    """
    path = check_target(path, SUFFIXES, overwrite=overwrite)
    if path.is_dir():
        raise InputError("it is a folder: choose another name", object_id=str(path))
    if path.suffix == ".onnx":
        write, read = _write_onnx, _read_onnx
        _require("onnx", "onnxruntime", "onnxscript")
    else:
        write, read = _write_pt2, _read_pt2
    model = as_model(model, "cpu", "float32")
    if model.compute_dtype != torch.float32 or model.dtype != torch.float32:
        raise InputError(
            f"the weights of {model.name!r} are in {model.provenance['dtype']}: load the model in "
            "float32 to export it"
        )
    if modality not in model.modalities:
        known = " and ".join(model.modalities)
        raise InputError(f"model {model.name!r} embeds {known}, not {modality!r}")
    if model.device.type != "cpu":
        model = deepcopy(model).to("cpu")
    with _quiet():
        program = _record(model, modality)
        with replacing(path) as aside:
            write(program, aside, _about(model, modality))
            return _check(read(aside), model, modality, path)


def _require(*packages):
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise InputError(
                f"{error.name} is missing: pip install 'astroclip_astro[export]', or export to .pt2"
            ) from error


@contextmanager
def _quiet():
    """Without what torch tells its own developers."""
    loggers = [logging.getLogger(name) for name in _CHATTER]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # A class of torch's own trees, which torch copies.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _examples(model, modality, count):
    """Fluxes of `count` objects from a seed, of the shape and about the level of real ones."""
    preprocessing = model.preprocessing[modality]
    if isinstance(preprocessing, SpectrumPreprocessing):
        shape, level = (preprocessing.n_pixels, 1), 3.0
    elif isinstance(preprocessing, ImagePreprocessing):
        shape, level = (len(preprocessing.bands), preprocessing.size, preprocessing.size), 0.1
    else:
        raise InputError(f"modality {modality!r}: expected one on the grid of spectra or images")
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))
    return level * (1 + noise)


def _record(model, modality):
    """The encoder as a graph, with the parameters that it uses and no others."""
    with torch.no_grad():
        program = torch.export.export(
            _Graph(model, modality),
            (_examples(model, modality, 2),),
            dynamic_shapes={"flux": {0: torch.export.Dim("batch")}},
        )
    signature, graph = program.graph_signature, program.graph
    idle = {n.name: n for n in graph.nodes if n.op == "placeholder" and not n.users}
    for spec in [s for s in signature.input_specs if s.arg.name in idle]:
        signature.input_specs.remove(spec)
        graph.erase_node(idle[spec.arg.name])
        program.state_dict.pop(spec.target)
    for node in graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the folders of this machine
    program.graph_module.recompile()
    program.example_inputs = None  # torch would pickle them
    return program


def _about(model, modality):
    """What a file says of itself (dict of str)."""
    spectrum = isinstance(model.preprocessing[modality], SpectrumPreprocessing)
    # A companion has made the vectors of its own modality only.
    others = {COMPANION + m for m in model.modalities if m != modality}
    about = {name: text for name, text in model.provenance.items() if name not in others}
    about |= {
        "modality": modality,
        "unit": FLUX_UNIT.to_string() if spectrum else "nmgy",
        "preprocessing_parameters": json.dumps(model.preprocessing_dict(), sort_keys=True),
        "training_range": json.dumps(model.training_range, sort_keys=True),
        "astroclip_astro": version("astroclip_astro"),
        "torch": torch.__version__,
    }
    entry = get_manager().entries("model").get(model.name)
    if entry is not None:
        about |= {"licence": entry.licence, "citation": entry.citation}
    return about


def _write_pt2(program, path, about):
    with open(path, "wb") as file:  # the path would become part of what is in the file
        torch.export.save(program, file, extra_files={METADATA: json.dumps(about, sort_keys=True)})


def _read_pt2(path):
    return torch.export.load(path).module()


def _write_onnx(program, path, about):
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    if sum(t.nbytes for t in program.state_dict.values()) > _ONNX_HOLDS:
        raise InputError("a file of ONNX holds 2 GB and the encoder has more: export to .pt2")
    written = torch.onnx.export(
        program,
        input_names=["flux"],
        output_names=["vectors"],
        dynamic_shapes={"flux": {0: "batch"}},
        dynamo=True,
        verbose=False,
    )
    ClearMetadataAndDocStringPass()(written.model)  # they name the folders of this machine
    written.model.metadata_props.update(about)
    written.save(path, external_data=False)


def _read_onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda flux: torch.from_numpy(session.run(["vectors"], {"flux": flux.numpy()})[0])


def _check(run, model, modality, path):
    """Compare a file with the model; the figures, if they are within `TOLERANCE`."""
    found, expected = [], []
    for count in (1, 3):
        flux = _examples(model, modality, count)
        if count > 1:
            flux[-1].view(-1)[0] = torch.nan
        with torch.inference_mode():
            found.append(run(flux))
        expected.append(model.encode(flux, modality))
    found, expected = torch.cat(found), torch.cat(expected)
    if not (found[-1].isnan().all() and expected[-1].isnan().all()):
        raise AstroclipError(f"{path}: the graph makes a vector of flux that is NaN; not written")
    found, expected = found[:-1].double(), expected[:-1].double()
    cosine = torch.cosine_similarity(found, expected)
    figures = {
        "difference": float((found - expected).abs().max() / expected.abs().max()),
        "one_minus_cosine": float(1 - cosine.min()),
    }
    if not (figures["difference"] < TOLERANCE and figures["one_minus_cosine"] < TOLERANCE**2):
        raise AstroclipError(
            f"{path}: vectors of the graph differ from the model's by {figures['difference']:.1e} "
            f"of the largest number (at most {TOLERANCE:.0e}); not written"
        )
    return figures

"""What the AstroCLIP paper reports, to print beside one's own figures."""

import math

__all__ = ["MORPHOLOGY_ACCURACY", "PROPERTY_R2", "SOURCE", "published_accuracy", "published_r2"]

#: Where the figures are from.
SOURCE = (
    "Parker et al. 2024, MNRAS 531, 4990 (https://doi.org/10.1093/mnras/stae1450); means of four: "
    "README of the authors' code, https://github.com/PolymathicAI/AstroCLIP"
)

#: R² by (input, model, head) and property. The mean is that of M*, Z, age and sSFR. Heads: kNN is
#: zero-shot with k = 64, MLP is few-shot, both on embeddings; "supervised" is trained end to end.
#: Before alignment, an image's embedding is the class token of AstroDINO and a spectrum's the mean
#: of SpecFormer's tokens.
PROPERTY_R2 = {
    ("image", "AstroCLIP", "kNN"): {
        "redshift": 0.79,
        "log_mass": 0.74,
        "log_z": 0.44,
        "age": 0.27,
        "log_ssfr": 0.44,
        "mean of 4": 0.47,
    },
    ("image", "AstroCLIP", "MLP"): {
        "redshift": 0.78,
        "log_mass": 0.73,
        "log_z": 0.43,
        "age": 0.26,
        "log_ssfr": 0.42,
        "mean of 4": 0.46,
    },
    ("spectrum", "AstroCLIP", "kNN"): {
        "redshift": 0.99,
        "log_mass": 0.87,
        "log_z": 0.57,
        "age": 0.43,
        "log_ssfr": 0.63,
        "mean of 4": 0.63,
    },
    ("image", "before alignment", "kNN"): {"redshift": 0.63, "mean of 4": 0.37},
    ("image", "Stein et al.", "kNN"): {"redshift": 0.36, "mean of 4": 0.26},
    ("image", "ResNet18", "supervised"): {"redshift": 0.77, "mean of 4": 0.43},
    ("photometry", "MLP", "supervised"): {"redshift": 0.68, "mean of 4": 0.42},
    ("spectrum", "before alignment", "kNN"): {"redshift": 0.99, "mean of 4": 0.64},
    ("spectrum", "Conv+Att", "supervised"): {"redshift": 0.99, "mean of 4": 0.60},
}

#: Accuracy of an MLP on image embeddings for the questions of Galaxy Zoo DECaLS, on test galaxies
#: with more than 34 votes. ZooBot, supervised, has a mean of 0.88.
MORPHOLOGY_ACCURACY = {
    "smooth": 0.83,
    "edge-on": 0.97,
    "spiral": 0.92,
    "bar": 0.56,
    "bulge size": 0.79,
    "how rounded": 0.74,
    "edge-on bulge": 0.82,
    "winding": 0.74,
    "arm count": 0.44,
    "merging": 0.80,
    "mean": 0.76,
}


def published_r2(source, model, head, target):
    """Look up a published coefficient of determination.

    Parameters
    ----------
    source : {"image", "spectrum", "photometry"}
        What the prediction is made from.
    model : str
        "AstroCLIP", "before alignment", "ResNet18", "Conv+Att", "MLP" …
    head : {"kNN", "MLP", "supervised"}
        How it is made.
    target : str
        "redshift", "log_mass", "log_z", "age", "log_ssfr" or "mean of 4".

    Returns
    -------
    float
        NaN where the paper gives none.

    Examples
    --------
    >>> from astroclip_astro.training.benchmark.published import published_r2
    >>> published_r2("image", "AstroCLIP", "kNN", "redshift")
    0.79
    """
    return PROPERTY_R2.get((source, model, head), {}).get(target, math.nan)


def published_accuracy(question, head):
    """Look up a published accuracy of classification by looks.

    Parameters
    ----------
    question : str
        A key of `MORPHOLOGY_ACCURACY`; spaces, hyphens and underscores are the same.
    head : {"kNN", "MLP"}
        How it is answered; the paper has the MLP only.

    Returns
    -------
    float
        NaN where the paper gives none.

    Examples
    --------
    >>> from astroclip_astro.training.benchmark.published import published_accuracy
    >>> published_accuracy("edge_on", "MLP"), published_accuracy("edge-on", "kNN")
    (0.97, nan)
    """
    if head != "MLP":
        return math.nan
    plain = question.replace("_", " ").replace("-", " ")
    return {name.replace("-", " "): a for name, a in MORPHOLOGY_ACCURACY.items()}.get(
        plain, math.nan
    )

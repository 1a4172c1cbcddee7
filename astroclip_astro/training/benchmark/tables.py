"""The tables of the paper from arrays: properties, redshifts, morphology and retrieval."""

import logging
from dataclasses import dataclass, field
from math import nan

import numpy as np
from astropy.table import MaskedColumn, Table

from astroclip_astro.errors import InputError
from astroclip_astro.tasks import metrics
from astroclip_astro.training.benchmark import heads
from astroclip_astro.training.benchmark.published import (
    SOURCE,
    published_accuracy,
    published_r2,
)
from astroclip_astro.training.benchmark.report import Report
from astroclip_astro.training.benchmark.retrieval import retrieval, retrieval_ranks

__all__ = ["PROPERTIES", "Embedded", "Predicted", "paper_tables"]

log = logging.getLogger(__name__)

#: What is predicted, in the order of the tables; all but the redshift make the mean of four.
PROPERTIES = ("redshift", "log_mass", "log_z", "age", "log_ssfr")


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """Embeddings of all objects by one encoder.

    Parameters
    ----------
    source : {"image", "spectrum"}
        What was embedded.
    model : str
        Name for the tables.
    vectors : numpy.ndarray
        Shape (n, feature); a row of NaN is an object that could not be embedded.
    published : str
        Model of `published.PROPERTY_R2` that it is to be compared with; ``""`` for none.
    """

    source: str
    model: str
    vectors: np.ndarray
    published: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """Predictions of a model that was trained for them.

    Parameters
    ----------
    source : {"image", "spectrum", "photometry"}
        What they are made from.
    model : str
        Name for the tables.
    values : dict of numpy.ndarray
        By property, one prediction per test object, in their order.
    n_train : dict of int
        By property, how many objects with a known value were trained on.
    training : str
        How long it was trained, for the tables.
    published : str
        Model of `published.PROPERTY_R2` that it is to be compared with; ``""`` for none.
    """

    source: str
    model: str
    values: dict
    n_train: dict
    training: str
    published: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """True and predicted values of the test objects, for one question."""

    true: np.ndarray
    predicted: np.ndarray
    n_train: int
    about: dict = field(default_factory=dict)


def paper_tables(
    embeddings,
    truth,
    train,
    test,
    *,
    labels=None,
    samples=None,
    supervised=(),
    k=64,
    pool=1000,
    n_resamples=200,
    seed=0,
):
    """Make the tables of the paper from arrays.

    Parameters
    ----------
    embeddings : sequence of Embedded
        Rows are the same objects in all. Retrieval is measured for each model that embeds images
        and spectra in vectors of one length.
    truth : mapping of numpy.ndarray
        Properties by name (see `PROPERTIES`), shape (n,), NaN where unknown. A property that is
        known of no object is left out of the tables, with a warning.
    train, test : numpy.ndarray
        Which objects are learnt from and tested on: indices, without any in common.
    labels : dict of numpy.ndarray, optional
        Classes by question, shape (n,): text, booleans or numbers; ``""``, NaN or masked where
        unknown. They are asked of images.
    samples : dict of numpy.ndarray, optional
        By name, which objects the questions are asked of, to learn and to test, shape (n,), bool;
        by default all, under the name ``"all"``.
    supervised : sequence of Predicted
        Baselines to put beside.
    k : int
        Neighbours of the zero-shot head.
    pool : int
        Size of the pools of the retrieval.
    n_resamples : int
        Of the bootstraps over test objects.
    seed : int
        Of everything random.

    Returns
    -------
    Report
        ``left_out`` counts the objects, of training and test, that have no vector or no known
        value. ``commonest`` is the accuracy of always naming the most frequent class.

    Raises
    ------
    InputError
        If training and test objects overlap, shapes disagree, two embeddings of the same input
        have the same name, no test object has an embedding, or a head has too few objects.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.training.benchmark.tables import Embedded, paper_tables
    >>> z = np.linspace(0, 1, 60)
    >>> image = Embedded(source="image", model="toy", vectors=np.stack([z, z**2], 1))
    >>> report = paper_tables([image], {"redshift": z}, np.arange(0, 60, 2), np.arange(1, 60, 2),
    ...                       k=2, n_resamples=20)
    >>> row = report.tables["properties"][0]
    >>> print(row["input"], row["head"], row["property"], row["k"], row["r2"] > 0.99)
    image kNN redshift 2 True
    """
    truth = {name: np.asarray(truth[name], float) for name in PROPERTIES if name in truth}
    labels = {name: _as_text(values) for name, values in (labels or {}).items()}
    samples = samples or {"all": np.ones(len(embeddings[0].vectors), bool)}
    train, test = _checked(embeddings, truth | labels | samples, train, test)
    for name in [name for name, values in truth.items() if not np.isfinite(values).any()]:
        log.warning("%s is known of no object: it is left out of the tables", name)
        del truth[name]
    bootstrap = {"n_resamples": n_resamples, "seed": seed}
    report = Report(
        tables={},
        settings={
            **{name: text.format(k=k) for name, text in heads.HEADS.items()},
            "training objects": len(train),
            "test objects": len(test),
            "pool of the retrieval": pool,
            "errors": f"bootstrap over the test objects, {n_resamples} resamples",
            "outliers": f"redshifts beyond {metrics.OUTLIER} (1 + z)",
            "seed": seed,
            "published": SOURCE,
        },
    )
    n = len(train) + len(test)
    properties, redshifts, morphology = [], [], []

    def add(about, answers, like):
        for name, answer in answers.items():
            report.predictions[about["input"], about["model"], about["head"], name] = (
                answer.true,
                answer.predicted,
            )
        for row in _scores(about, "property", answers, heads.r2, n, bootstrap):
            of = about["input"], like, about["head"], row["property"]
            properties.append(row | {"published": published_r2(*of)})
        if "redshift" in answers:
            redshifts.append(_redshift_row(about, answers["redshift"], bootstrap))

    for one in embeddings:
        learn = _Learner(one, train, test, k, seed)
        for head in heads.HEADS:
            about = {"input": one.source, "model": one.model, "head": head}
            about |= {"k": k if head == "kNN" else None, "training": ""}
            answers = {name: learn(heads.regress, y, head) for name, y in truth.items()}
            add(about, answers, one.published)
            for sample, asked in samples.items() if one.source == "image" else ():
                answers = {}
                for name, y in labels.items():
                    try:
                        answers[name] = learn(heads.classify, np.where(asked, y, ""), head)
                    except InputError as error:
                        log.warning("%s by %s of %s is left out: %s", name, head, sample, error)
                about = about | {"sample": sample}
                for row in _scores(about, "question", answers, heads.accuracy, n, bootstrap):
                    questions = answers if row["question"] == "mean" else [row["question"]]
                    shown = nan  # the paper has accuracies of AstroCLIP only
                    # It is of galaxies that volunteers saw, not of all, where these are told apart.
                    comparable = len(samples) == 1 or sample != "all"
                    if one.published == "AstroCLIP" and comparable:
                        shown = np.mean([published_accuracy(q, head) for q in questions])
                    morphology.append(row | {"published": shown})
    for one in supervised:
        about = {"input": one.source, "model": one.model, "head": "supervised"}
        about |= {"k": None, "training": one.training}
        answers = {
            name: _Answers(
                true=y[test],
                predicted=np.asarray(one.values[name], float),
                n_train=one.n_train[name],
            )
            for name, y in truth.items()
            if name in one.values
        }
        add(about, answers, one.published)
    found = _retrieval_rows(report, embeddings, test, pool, bootstrap)
    names = "properties", "redshifts", "morphology", "retrieval"
    for name, rows in zip(names, (properties, redshifts, morphology, found), strict=True):
        if rows:
            report.tables[name] = _table(rows)
    return report


def _as_text(labels):
    """Classes as text, empty where they are not known."""
    usable = heads.known(labels)
    return np.where(usable, np.asarray(np.ma.getdata(labels)).astype(str), "")


def _checked(embeddings, columns, train, test):
    """Indices of training and test objects, all arrays being of one length."""
    lengths = {f"{e.source} embeddings of {e.model}": len(e.vectors) for e in embeddings}
    lengths |= {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"arrays of different lengths, expected the same objects: {lengths}")
    names = [(e.source, e.model) for e in embeddings]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"several embeddings have the same input and name: {sorted(twice)}")
    train, test = np.asarray(train), np.asarray(test)
    for name, rows in (("train", train), ("test", test)):
        if rows.dtype.kind not in "iu" or rows.ndim != 1 or not len(rows):
            raise InputError(
                f"{name} is {rows.dtype} of shape {rows.shape}: expected indices, at least one"
            )
    if common := len(np.intersect1d(train, test)):
        raise InputError(f"{common} objects are both learnt from and tested on: split them")
    return train, test


class _Learner:
    """Applies heads to the objects that have both a vector and a known value."""

    def __init__(self, one, train, test, k, seed):
        self.vectors, self.test = one.vectors, test
        self.settings = {"k": k, "seed": seed}
        embedded = np.isfinite(one.vectors).all(1)
        self.from_, self.on = train[embedded[train]], embedded[test]
        if not self.on.any():
            raise InputError(
                f"none of {len(test)} test objects has a {one.source} embedding of {one.model}: "
                "see the log for why they could not be embedded"
            )

    def __call__(self, method, values, head):
        learnt = self.from_[heads.known(values[self.from_])]
        true = values[self.test]
        predicted = np.full(len(true), nan if true.dtype.kind == "f" else "", true.dtype)
        predicted[self.on] = method(
            self.vectors[learnt],
            values[learnt],
            self.vectors[self.test[self.on]],
            head=head,
            **self.settings,
        )
        about, n_train = {}, len(learnt)
        if method is heads.classify:
            classes, members = np.unique(values[learnt], return_counts=True)
            always = np.full(len(true), classes[members.argmax()])
            n_classes = int((members > 1).sum())  # the head leaves out those of one object
            n_train = int(members[members > 1].sum())
            about = {"classes": n_classes, "commonest": heads.accuracy(true, always)}
        return _Answers(true=true, predicted=predicted, n_train=n_train, about=about)


def _scores(about, kind, answers, measure, n, bootstrap):
    """One row per question, and one for the mean, each with its bootstrap error."""
    groups = {name: [answer] for name, answer in answers.items()}
    if measure is heads.accuracy and len(answers) > 1:
        groups["mean"] = list(answers.values())
    elif set(PROPERTIES) <= answers.keys():
        groups["mean of 4"] = [answers[name] for name in PROPERTIES[1:]]
    label = "r2" if measure is heads.r2 else measure.__name__
    rows = []
    for name, group in groups.items():

        def score(drawn, group=group):
            return np.mean([measure(a.true[drawn], a.predicted[drawn]) for a in group])

        fewest = min(a.n_train for a in group)
        tested = min(_n_used(a) for a in group)
        extra = group[0].about if len(group) == 1 else dict.fromkeys(group[0].about)
        if "commonest" in extra:
            extra = extra | {"commonest": np.mean([a.about["commonest"] for a in group])}
        rows.append(
            {
                **about,
                kind: name,
                label: score(slice(None)),
                f"{label}_error": heads.bootstrap_error(score, len(group[0].true), **bootstrap),
                **extra,
                "n_train": fewest,
                "n_test": tested,
                "left_out": n - fewest - tested,
            }
        )
    return rows


def _n_used(answer):
    return int((heads.known(answer.true) & heads.known(answer.predicted)).sum())


def _redshift_row(about, answer, bootstrap):
    row = dict(about)
    for measure in (metrics.sigma_nmad, metrics.outlier_fraction, metrics.bias):
        row[measure.__name__] = measure(answer.true, answer.predicted)
        row[f"{measure.__name__}_error"] = heads.bootstrap_error(
            lambda drawn, measure=measure: measure(answer.true[drawn], answer.predicted[drawn]),
            len(answer.true),
            **bootstrap,
        )
    return row | {"n_train": answer.n_train, "n_test": _n_used(answer)}


def _retrieval_rows(report, embeddings, test, pool, bootstrap):
    """Both directions for every model that embeds both modalities in vectors of one length."""
    by_model = {}
    for one in embeddings:
        by_model.setdefault(one.model, {})[one.source] = one.vectors[test]
    rows = []
    for model, vectors in by_model.items():
        if vectors.keys() != {"image", "spectrum"}:
            continue
        if vectors["image"].shape != vectors["spectrum"].shape:
            continue
        both = np.isfinite(vectors["image"]).all(1) & np.isfinite(vectors["spectrum"]).all(1)
        for asked, kept in (("image", "spectrum"), ("spectrum", "image")):
            pair = vectors[asked][both], vectors[kept][both]
            direction = f"{asked} → {kept}"
            found = retrieval(*pair, pool=pool, **bootstrap)
            ranks = retrieval_ranks(*pair, pool=pool, seed=bootstrap["seed"])
            report.ranks[model, direction] = ranks, found.pool
            row = {"model": model, "direction": direction}
            for first, share in found.recall.items():
                low, high = found.recall_interval[first]
                row[f"recall@{first}"] = share
                row[f"recall@{first}_error"] = found.recall_error[first]
                row |= {f"low@{first}": low, f"high@{first}": high}
            rows.append(
                row
                | {
                    "median_rank": found.median_rank,
                    "median_rank_error": found.median_rank_error,
                    "pool": found.pool,
                    "n_test": found.n_queries,
                    "left_out": len(test) - found.n_queries,
                }
            )
    return rows


def _table(rows):
    """A table with everything masked that is None or NaN."""
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        missing = [v is None or v != v for v in values]
        some = next((v for v, m in zip(values, missing, strict=True) if not m), 0.0)
        filled = [some if m else v for v, m in zip(values, missing, strict=True)]
        columns[name] = MaskedColumn(filled, mask=missing)
    return Table(columns)

"""EmbeddingCatalog: galaxies by sky position, by column, and by similarity."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.sparse import csr_array

from astroclip_astro.catalog.engines.exact import vectors_of
from astroclip_astro.catalog.export import check_export, write_table
from astroclip_astro.catalog.predicate import predicate, text_in
from astroclip_astro.catalog.queries import Query, answer, resolve
from astroclip_astro.catalog.ranking import Ranking
from astroclip_astro.catalog.rows import rows_of, table_of
from astroclip_astro.catalog.schema import OF_VECTORS, CatalogSchema
from astroclip_astro.catalog.selection import Selection
from astroclip_astro.catalog.store import Store, verify
from astroclip_astro.embedding_schema import compared
from astroclip_astro.embeddings import concat, directions, make_embeddings
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.notebooks import html_table
from astroclip_astro.plugins.manager import get_manager
from astroclip_astro.sky import angle
from astroclip_astro.weights import as_model

__all__ = ["EmbeddingCatalog"]

_BLOCK = 16384


class EmbeddingCatalog:
    """Embedded galaxies on disk, one row an object, with a vector for each modality.

    Make one with `create` or open one with `open`; the constructor is theirs.

    Parameters
    ----------
    store : Store
        Its rows.
    model : str, path-like or GalaxyModel, optional
        What embeds the objects that it is searched with; by default the model of its name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import astroclip_astro as aa
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> embeddings = aa.embed([mocks.spectrum(i) for i in range(8)])
    >>> with TemporaryDirectory() as folder:
    ...     catalog = EmbeddingCatalog.create(Path(folder, "mocks"), embeddings)
    ...     found = catalog.search(mocks.spectrum(3), k=2, where="redshift < 2")
    >>> found["object_id"][0] == mocks.truth["object_id"][3], len(found)
    (True, 2)
    """

    def __init__(self, store, model=None):
        self._store = store
        self._model = model
        self._ranking = Ranking(store)

    @classmethod
    def create(cls, path, embeddings, columns=None, *, overwrite=False, model=None):
        """Make a catalog, as a whole or not at all.

        Parameters
        ----------
        path : path-like
            Folder to make.
        embeddings : xarray.DataArray
            As `astroclip_astro.embed` returns it, of any modalities: the vectors of one
            ``object_id`` become one row. An object without a vector is kept without.
        columns : astropy.table.Table, optional
            Further columns, with units, beside ``object_id``; numbers, truths or text.
        overwrite : bool
            Replace a catalog that is there.
        model : str, path-like or GalaxyModel, optional
            What embeds the objects that it is searched with; by default the model of its name.

        Returns
        -------
        EmbeddingCatalog

        Raises
        ------
        InputError
            If an object has no ``object_id``, or two vectors of one modality, or a column has a
            name that is taken, or something else than numbers, truths and text.
        ProvenanceError
            If the embeddings do not say what made them.
        FileExistsError
            If there is something already.
        CatalogError
            If the folder cannot be made, or the disk is full.
        """
        schema = CatalogSchema.of(embeddings, columns)
        rows = rows_of(schema, embeddings, columns)
        return cls(Store.create(path, rows, overwrite=overwrite), model)

    @classmethod
    def open(cls, path, *, model=None):
        """Open a catalog.

        Parameters
        ----------
        path : path-like
            Its folder.
        model : str, path-like or GalaxyModel, optional
            As for `create`.

        Returns
        -------
        EmbeddingCatalog

        Raises
        ------
        CatalogError
            If there is none, or it is damaged.
        """
        return cls(Store(path), model)

    @property
    def path(self):
        """Its folder (pathlib.Path)."""
        return self._store.path

    @property
    def store(self):
        """Its rows on disk (Store)."""
        return self._store

    @property
    def schema(self):
        """Columns, units and provenance (CatalogSchema)."""
        return self._store.schema

    @property
    def modalities(self):
        """What there are vectors of (list of str)."""
        return list(self._store.schema.modalities)

    @property
    def model(self):
        """What embeds the objects that it is searched with (str, path-like or GalaxyModel)."""
        if self._model is None:
            self._model = _model_of(self.provenance, set(self.modalities))
        return self._model

    @property
    def columns(self):
        """Names of the columns, without those of vectors (list of str)."""
        return self._store.schema.names

    @property
    def provenance(self):
        """What made the vectors, and more that the embeddings said of themselves (dict of str)."""
        return dict(self._store.schema.provenance)

    def __len__(self):
        return self._store.count()

    def __repr__(self):
        vectors = ", ".join(f"{self._store.count(m)} {m}" for m in self.modalities)
        return (
            f"<EmbeddingCatalog {str(self.path)!r}: {len(self)} objects ({vectors} vectors) of "
            f"{self.provenance['model']!r}>"
        )

    def _repr_html_(self):
        schema = self._store.schema
        vectors = [
            (f"{one} vectors", f"{self._store.count(one)} of {schema.features} numbers")
            for one in self.modalities
        ]
        columns = [
            (
                name,
                schema.kinds[name],
                schema.units.get(name, ""),
                schema.descriptions.get(name, ""),
            )
            for name in self.columns
        ]
        header = ("name", "type", "unit", "description")
        return "\n".join(
            [
                html_table(
                    f"EmbeddingCatalog {str(self.path)!r}", [("objects", len(self)), *vectors]
                ),
                html_table(f"{len(columns)} columns", columns, header=header, folded=True),
                html_table("provenance", self.provenance.items(), folded=True),
            ]
        )

    def append(self, embeddings, columns=None):
        """Add objects, all or none.

        Parameters
        ----------
        embeddings : xarray.DataArray
            Of the catalog's model and modalities.
        columns : astropy.table.Table, optional
            As for `create`, with the same further columns; units are converted.

        Raises
        ------
        InputError
            If an object is there already, or as for `create`.
        ProvenanceError
            If the embeddings are of another model, weights or preprocessing.
        CatalogError
            If another process is writing, and goes on for a minute, or the disk is full.
        """
        self._store.append(rows_of(self._store.schema, embeddings, columns))

    def delete(self, object_id=None, *, where=None):
        """Delete objects.

        Parameters
        ----------
        object_id : str or sequence of str, optional
            Which.
        where : str, optional
            Condition on columns, as for `search`; one of the two.

        Returns
        -------
        int
            How many there were.

        Raises
        ------
        InputError
            If none or both of the two are given, or one of them makes no sense.
        CatalogError
            As `append` does.
        """
        if (object_id is None) == (where is None):
            raise InputError("expected either object_id or where")
        if where is None:
            ids = [object_id] if isinstance(object_id, str) else list(object_id)
            return self._store.delete(text_in("object_id", ids)) if ids else 0
        return self._store.delete(predicate(where, self._store.schema.kinds))

    def compact(self):
        """Bring the catalog into order after changes: small files, deleted rows, indexes.

        Above 20,000 vectors it is the index that makes a search quick; what was added since is
        found as well, but slowly.

        Raises
        ------
        CatalogError
            As `append` does.
        """
        self._store.compact()

    def verify(self):
        """Check every file against its checksum.

        Returns
        -------
        list of Damage
            Empty if all is well.
        """
        return verify(self.path)

    def load(self, modality, *, engine="faiss"):
        """Read the vectors of a modality, and all columns, into memory, for many searches.

        Parameters
        ----------
        modality : str
            Which.
        engine : {"faiss", "exact"}
            What to search them with: faiss is quicker with single queries, and takes a while to
            build the first time.

        Returns
        -------
        EmbeddingCatalog
            Itself.
        """
        self._check_modality(modality)
        self._ranking.load(modality, engine)
        return self

    def search(
        self,
        query,
        k=10,
        *,
        modality=None,
        cone=None,
        region=None,
        where=None,
        exclude_self=False,
        at_fixed_redshift=False,
        combine="each",
        engine="auto",
    ):
        """Find the most similar objects.

        Parameters
        ----------
        query : xarray.DataArray, str, object, or sequence of these
            An embedding; the ``object_id`` of an object of the catalog; anything that
            `astroclip_astro.embed` takes, which is embedded on the spot; or several.
        k : int
            How many objects to find.
        modality : str, optional
            Which vectors are ranked: "image" finds images, also for a spectrum. By default those
            of the modality of the query.
        cone : tuple of astropy.coordinates.SkyCoord and astropy.units.Quantity, optional
            Find only what is within a radius of a position.
        region : mocpy.MOC or regions.SkyRegion, optional
            Find only what is within an outline.
        where : str, optional
            Find only what fulfils a condition on columns, such as ``"0.1 < z AND z < 0.3"``: see
            `astroclip_astro.catalog.predicate`. Numbers are in the units of the columns.
        exclude_self : bool
            Leave out the objects that have the ``object_id`` of the query.
        at_fixed_redshift : bool
            Rank what is left of the vectors when their mean trend with redshift is taken off, so
            that similar means more than "at the same redshift". Objects without a redshift are not
            found.
        combine : {"each", "mean"}
            Whether several objects are searched for one by one, or for what is like all of them:
            the mean of their unit vectors.
        engine : str
            "auto", or a registered engine: "lance", "faiss", "exact".

        Returns
        -------
        astropy.table.QTable
            The most similar first, of equal score by name: ``object_id``, ``score`` (cosine),
            ``separation`` from the centre of the cone, else from the query where its position is
            known, and the columns of the catalog. `k` rows for each object of the query, fewer only
            where fewer fulfil the conditions. Where several are searched for one by one, also
            ``query`` (position) and ``query_id``.

        Raises
        ------
        InputError
            If an argument makes no sense, or the query has no vector.
        ProvenanceError
            If the query is an embedding of another model.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k is {k!r}, expected a whole number of 1 or more")
        if combine not in ("each", "mean"):
            raise InputError(f"combine is {combine!r}, expected 'each' or 'mean'")
        if modality is not None:
            self._check_modality(modality)
        asked = resolve(query, self, modality)
        if modality is None:
            (modality, *others) = sorted(set(asked.modality))
            if others:
                raise InputError(
                    f"the query has {modality} and {' and '.join(others)}: say which vectors are "
                    "to be ranked, modality=…"
                )
            self._check_modality(modality)
        if at_fixed_redshift:
            residuals = np.empty_like(asked.vectors)
            for one in set(asked.modality):
                self._check_modality(str(one))
                mine = asked.modality == one
                residuals[mine] = self._ranking.residual(
                    asked.vectors[mine], asked.redshift[mine], str(one)
                )
            asked.vectors = residuals
        if combine == "mean":
            mean = directions(asked.directions.mean(0, keepdims=True))
            unknown = np.full(1, np.nan)
            excluded = [set(asked.object_id)] if exclude_self else [set()]
            asked = Query(mean, unknown, unknown, unknown, unknown, unknown, single=True)
        else:
            excluded = [{name} if exclude_self else set() for name in asked.object_id]
        selection = Selection(self._store, modality, where=where, cone=cone, region=region)
        rowids, scores = self._ranking.search(
            asked.directions,
            k + max(map(len, excluded)),
            selection,
            engine,
            at_fixed_redshift=at_fixed_redshift,
        )
        return self._answer(rowids, scores, k, excluded, asked, selection.sky)

    def crossmatch(self, others, radius=1 * u.arcsec):
        """Find the nearest object on the sky for each of some positions.

        Parameters
        ----------
        others : astropy.coordinates.SkyCoord, astropy.table.Table or EmbeddingCatalog
            Positions; a table has ``ra`` and ``dec`` (deg unless they have a unit).
        radius : astropy.units.Quantity
            Farther than that, it is another object.

        Returns
        -------
        astropy.table.QTable
            A row per match, in the order of the others: ``other`` (position among them),
            ``other_id`` where they have an ``object_id``, ``separation`` (arcsec), and the columns
            of the catalog.

        Raises
        ------
        InputError
            If the others have no positions, or the radius is no angle.
        """
        coordinates, names = _positions(others)
        limit = angle(radius)
        rows = self.table()
        known = np.flatnonzero(np.isfinite(rows["ra"]) & np.isfinite(rows["dec"]))
        usable = np.flatnonzero(np.isfinite(coordinates.ra) & np.isfinite(coordinates.dec))
        if not (known.size and usable.size):
            near, apart = np.empty(0, int), np.empty(0) * u.deg
            usable = usable[:0]
        else:
            mine = SkyCoord(rows["ra"][known], rows["dec"][known])
            near, apart, _ = coordinates[usable].match_to_catalog_sky(mine)
        close = np.flatnonzero(apart <= limit)
        found = rows[known[near[close]]]
        found.add_column(apart[close].to(u.arcsec), index=0, name="separation")
        if names is not None:
            found.add_column(names[usable[close]], index=0, name="other_id")
        found.add_column(usable[close], index=0, name="other")
        return found

    def neighbors_graph(self, k=10, *, modality, where=None):
        """Who is most similar to whom: the graph that clustering and UMAP start from.

        Parameters
        ----------
        k : int
            How many neighbours each object has; it is not its own.
        modality : str
            Which vectors are compared.
        where : str, optional
            Condition on columns, as for `search`: of objects as well as of neighbours.

        Returns
        -------
        graph : scipy.sparse.csr_array
            Shape (n, n), float32: cosine of the object of the row with that of the column.
        object_id : numpy.ndarray
            Of rows and columns, shape (n,).

        Raises
        ------
        InputError
            If there are not more than `k` objects.
        """
        self._check_modality(modality)
        selection = Selection(self._store, modality, where=where)
        rowids, n = selection.rowids, selection.count()
        if not 1 <= k < n:
            raise InputError(f"k is {k}, expected 1 to {n - 1}: {n} objects have a vector")
        self._ranking.load(modality, "exact")
        engine = self._ranking.engine("exact", modality)
        parts = []
        for start in range(0, n, _BLOCK):
            mine = rowids[start : start + _BLOCK]
            at = np.searchsorted(engine.rowids, mine)
            unit = (engine.vectors[at].float() * engine.inverse_norms[at, None]).cpu().numpy()
            found, scores = engine.search(unit, k + 1, selection)
            # Of equal vectors, any may come first.
            other = found != mine[:, None]
            other[other.all(1), -1] = False
            parts.append((found[other].reshape(-1, k), scores[other].reshape(-1, k)))
        found, scores = (np.concatenate(one) for one in zip(*parts, strict=True))
        at = np.searchsorted(rowids, found)
        graph = csr_array((scores.ravel(), at.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
        return graph, np.array(self._ranking.rows(rowids)["object_id"].to_pylist())

    def table(self, *, columns=None, where=None, cone=None, region=None):
        """The objects without their vectors.

        Parameters
        ----------
        columns : sequence of str, optional
            Which; by default all.
        where, cone, region : optional
            As for `search`.

        Returns
        -------
        astropy.table.QTable
            A row per object. What is unknown is NaN or masked.

        Raises
        ------
        InputError
            If there is no such column, or a condition makes no sense.
        """
        names = self.columns if columns is None else list(columns)
        odd = [name for name in names if name not in self.columns]
        if odd:
            raise InputError(
                f"there is no column {', '.join(odd)}; there are {', '.join(self.columns)}"
            )
        return self._columns(Selection(self._store, where=where, cone=cone, region=region), names)

    def embeddings(self, modality, *, where=None, cone=None, region=None):
        """The vectors of a modality, for heads and whatever else takes embeddings.

        Parameters
        ----------
        modality : str
            Which.
        where, cone, region : optional
            As for `search`.

        Returns
        -------
        xarray.DataArray
            As `astroclip_astro.embed` returns it, dims ("object", "feature"), float32: what float16
            has kept of them.

        Raises
        ------
        InputError
            If there is no such modality, or a condition makes no sense.
        """
        self._check_modality(modality)
        selection = Selection(self._store, modality, where=where, cone=cone, region=region)
        return self._embeddings(selection, modality)

    def stored(self, object_ids, modality=None):
        """The vectors of some objects.

        Parameters
        ----------
        object_ids : sequence of str
            Which objects.
        modality : str, optional
            Of which modality, where they have it, else of another.

        Returns
        -------
        xarray.DataArray
            In the order given, dims ("object", "feature").

        Raises
        ------
        InputError
            If one of them is not there, or has no vector at all.
        """
        order = sorted(self.modalities, key=lambda one: one != modality)
        sql, found = text_in("object_id", list(object_ids)), {}
        for one in order:
            rows = self._embeddings(Selection.of_sql(self._store, one, sql), one)
            for i, name in enumerate(rows.coords["object_id"].values):
                found.setdefault(str(name), rows[[i]])
        lost = [name for name in object_ids if name not in found]
        if lost:
            there = self._store.dataset.count_rows(filter=text_in("object_id", lost[:1]))
            raise InputError(
                "it has no vector in the catalog"
                if there
                else f"there is no such object in {self.path.name}; a file is given as a Path",
                object_id=lost[0],
            )
        return concat([found[str(name)] for name in object_ids])

    def export(self, path, *, where=None, cone=None, region=None, overwrite=False):
        """Write objects with their vectors for other programs.

        Parameters
        ----------
        path : path-like
            The suffix decides the format: ``.fits``, ``.vot`` (VOTable), ``.ecsv`` or
            ``.parquet``, see `astroclip_astro.catalog.export`; without one, a folder with a HATS
            catalog.
        where, cone, region : optional
            As for `search`.
        overwrite : bool
            Replace what is there.

        Returns
        -------
        int
            How many objects were written.

        Raises
        ------
        InputError
            If the suffix is unknown, the folder does not exist, or a condition makes no sense.
        FileExistsError
            If there is something already and `overwrite` is not set.
        """
        if not Path(path).suffix:
            from astroclip_astro.catalog.hats import write_hats

            return write_hats(
                self, path, where=where, cone=cone, region=region, overwrite=overwrite
            )
        path = check_export(path, overwrite=overwrite)
        return write_table(path, Selection(self._store, where=where, cone=cone, region=region))

    def _check_modality(self, modality):
        if modality not in self.modalities:
            raise InputError(
                f"modality is {modality!r}: the catalog has vectors of "
                f"{' and '.join(self.modalities)}"
            )

    def _columns(self, selection, names):
        """Columns of what is selected."""
        batches = [batch for _, batch in selection.batches(names)]
        fields = [self._store.schema.arrow.field(name) for name in names]
        return table_of(self._store.schema, pa.Table.from_batches(batches, pa.schema(fields)))

    def _embeddings(self, selection, modality):
        """Embeddings of the selected objects."""
        names = ["object_id", "ra", "dec", "redshift", "survey"]
        named = {name: f"{modality}_{name}" for name in OF_VECTORS}
        wanted = [*names, *named.values(), modality]
        batches = [batch for _, batch in selection.batches(wanted)]
        fields = [self._store.schema.arrow.field(name) for name in wanted]
        stored = pa.Table.from_batches(batches, pa.schema(fields))
        table = table_of(self._store.schema, stored.drop_columns([modality]))
        columns = {name: table[name] for name in names}
        columns |= {name: table[one] for name, one in named.items()}
        columns["modality"] = [modality] * len(table)
        vectors = np.empty((len(table), self._store.schema.features), np.float32)
        if len(table):
            vectors[:] = np.concatenate([vectors_of(c) for c in stored[modality].chunks])
        return make_embeddings(vectors, columns, self.provenance)

    def _answer(self, rowids, scores, k, excluded, asked, sky):
        """What a search found as a table."""
        there = rowids >= 0
        stored = self._ranking.rows(rowids[there])
        scores, number = scores[there], np.nonzero(there)[0]
        if any(excluded):
            ids = stored["object_id"].to_pylist()
            keep = np.array([i not in excluded[q] for i, q in zip(ids, number, strict=True)], bool)
            stored, scores, number = stored.filter(keep), scores[keep], number[keep]
        place = np.arange(len(number)) - np.searchsorted(number, number)
        if len(place) and place.max() >= k:
            keep = place < k
            stored, scores, number = stored.filter(keep), scores[keep], number[keep]
        return answer(self._store.schema, stored, scores, number, asked, sky)


def _positions(others):
    """Coordinates of others, and their identifiers or None."""
    if isinstance(others, EmbeddingCatalog):
        others = others.table(columns=["object_id", "ra", "dec"])
    if isinstance(others, SkyCoord):
        return others.icrs.reshape(-1), None
    if not isinstance(others, Table) or not {"ra", "dec"} <= set(others.colnames):
        raise InputError(
            f"others is a {type(others).__name__}: expected a SkyCoord, a catalog, or a table with "
            "ra and dec"
        )
    ra, dec = (
        u.Quantity(np.ma.filled(others[name], np.nan), others[name].unit or u.deg)
        for name in ("ra", "dec")
    )
    names = np.asarray(others["object_id"]) if "object_id" in others.colnames else None
    return SkyCoord(ra, dec), names


def _model_of(provenance, modalities):
    """Name of the model that made vectors: of a companion, where the model itself has too few."""
    entries, name = get_manager().entries("model"), provenance["model"]
    if name not in entries or modalities <= set(entries[name].modalities):
        return name
    for other, entry in entries.items():
        if modalities <= set(entry.modalities):
            try:
                made = as_model(other).provenance
            except AstroclipError:  # a plugin that is broken, or whose weights are not here
                continue
            if all(made.get(key) == provenance[key] for key in compared(provenance, made)):
                return other
    return name

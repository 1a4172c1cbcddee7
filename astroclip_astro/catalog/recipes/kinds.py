"""Kinds of sources: a mock survey, a folder of files, a table."""

import logging
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from astropy import units as u

from astroclip_astro.catalog.predicate import predicate
from astroclip_astro.catalog.recipes.sources import OF_FILES, Entries, Found, Source, plain_values
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.surveys.files import identify, read
from astroclip_astro.training.sources.tables import read_table

__all__ = ["KINDS", "SIMULATORS", "Files", "Mocks", "Tabulated"]

log = logging.getLogger(__name__)

#: What simulating needs.
SIMULATORS = ("bagpipes", "dust_extinction", "galsim", "speclite")


@dataclass(frozen=True, kw_only=True)
class Mocks(Source):
    """A mock survey: a folder of one, one simulated on the spot, or the bundled one.

    Parameters
    ----------
    simulate : int
        How many objects to simulate if no folder is given; it needs the extra ``simulate``, and
        without that the bundled galaxies are taken, with a warning.
    seed : int
        What to simulate them from.
    """

    kind: ClassVar[str] = "mocks"
    simulate: int = 0
    seed: int = 0

    def open(self, path, scratch, modalities):
        """List its galaxies; see `Source.open`.

        Parameters
        ----------
        path, scratch, modalities
            As there.

        Returns
        -------
        Entries
        """
        survey = self._survey(path, scratch)
        rows = self._taken(survey.truth)
        truth = survey.truth[rows]
        names = np.asarray(truth["object_id"]).astype(str)
        keys = [_key(name, survey.recipe_hash) for name in names.tolist()]
        at = dict(zip(keys, rows.tolist(), strict=True))
        make = {"image": survey.cutout, "spectrum": survey.spectrum}
        return Entries(
            keys=keys,
            read=lambda key: [Found(make[one](at[key])) for one in modalities],
            columns=self._further(truth, names),
            about=f"{len(rows)} of {len(survey)} mock galaxies, seed {survey.seed}",
        )

    def reopen(self, path, modalities):
        """Simulate what is asked for, and no more; see `Source.reopen`.

        Parameters
        ----------
        path, modalities
            As there.

        Returns
        -------
        Entries
        """
        if path is not None or not self.simulate:
            return super().reopen(path, modalities)
        # Those that come with the package may have been taken instead.
        bundled = replace(self, simulate=0, where="", n=0, columns={}).open(None, None, modalities)
        known = set(bundled.keys)
        return replace(
            bundled,
            read=lambda key: bundled.read(key) if key in known else self._again(key, modalities),
        )

    def _again(self, key, modalities):
        """The objects of an entry that was simulated on the spot."""
        match = re.fullmatch(rf"(mock-{self.seed}-([0-9]{{7,12}})) [0-9a-f]+", key)
        if not match or int(match[2]) >= self.simulate:
            raise KeyError(key)
        name, number = match[1], int(match[2])
        if _cannot_simulate():
            raise InputError(
                "it was simulated when the catalog was built. To simulate it again, python -m pip "
                "install 'astroclip_astro[simulate]'; or pass a folder of mocks that has it, "
                f"--source {self.name}=PATH",
                object_id=name,
            )
        from astroclip_astro.simulate import observe, simulate_galaxy
        from astroclip_astro.simulate.recipe import recipe_hash

        galaxy = simulate_galaxy(self.seed, number)
        if key != _key(galaxy.truth["object_id"].decode(), recipe_hash()):
            raise KeyError(key)  # it would be another one today
        spectrum, cutout = observe(galaxy)
        made = {"image": cutout, "spectrum": spectrum}
        return [Found(made[one]) for one in modalities]

    def _survey(self, path, scratch):
        from astroclip_astro.simulate import MockSurvey

        if path is not None:
            return MockSurvey.open(self._there(path))
        if not self.simulate:
            return MockSurvey.bundled()
        if _cannot_simulate():
            bundled = MockSurvey.bundled()
            log.warning(
                "the %d bundled galaxies are taken: to simulate %d, "
                "python -m pip install 'astroclip_astro[simulate]'",
                len(bundled),
                self.simulate,
            )
            return bundled
        return MockSurvey.generate(scratch / f"source-{self.name}", self.simulate, seed=self.seed)


def _key(name, recipe_hash):
    """Key of a mock galaxy; simulated by another recipe, one of the same name is another."""
    return f"{name} {recipe_hash[:16]}"


def _cannot_simulate():
    return any(find_spec(name) is None for name in SIMULATORS)


@dataclass(frozen=True, kw_only=True)
class Files(Source):
    """A folder of files that `astroclip_astro.embed` reads, with every object in them.

    Parameters
    ----------
    pattern : str
        Which files, as for `pathlib.Path.glob`.
    survey : str
        How to read them; by default each is recognised.
    """

    kind: ClassVar[str] = "files"
    pattern: str = "**/*.fits*"
    survey: str = ""

    def open(self, path, scratch, modalities):
        """List its files; see `Source.open`.

        Parameters
        ----------
        path, scratch, modalities
            As there.

        Returns
        -------
        Entries
        """
        folder = self._there(path)
        if self.where:
            predicate(self.where, OF_FILES)  # it is needed only when all are embedded
        files = {}
        for file in sorted(folder.glob(self.pattern)):
            if file.is_file():
                stat = file.stat()
                key = f"{file.relative_to(folder).as_posix()} {stat.st_size} {stat.st_mtime_ns}"
                files[key] = file
        if not files:
            raise InputError(f"source {self.name!r}: no file in {folder} matches {self.pattern!r}")
        keys = list(files)[: self.n or None]
        return Entries(keys, lambda key: self._read(files[key]), None, f"{len(keys)} files")

    def _read(self, file):
        survey = self.survey or identify(file)
        found = [
            Found(obj, survey, {} if obj.meta.get("object_id") else {"object_id": file.name})
            for obj in read(file, survey)
        ]
        if not found:
            raise InputError("it holds no object", object_id=file.name)
        return found


@dataclass(frozen=True, kw_only=True)
class Tabulated(Source):
    """A table with a row per object: columns to keep, and names of files with its data.

    Parameters
    ----------
    object_id, ra, dec, redshift : str
        Names of these columns in the table, if they are others; all but the first may be missing.
    image, spectrum : str
        Names of the columns with file names, relative to the table; by default ``image`` and
        ``spectrum`` where there are such. Of a file that holds several objects the one of the same
        ``object_id`` is taken. A table without any only adds columns.
    surveys : dict of str
        How to read the files, by modality; by default each is recognised.
    """

    kind: ClassVar[str] = "table"
    object_id: str = ""
    ra: str = ""
    dec: str = ""
    redshift: str = ""
    image: str = ""
    spectrum: str = ""
    surveys: dict[str, str] = field(default_factory=dict)

    def open(self, path, scratch, modalities):
        """List its rows; see `Source.open`.

        Parameters
        ----------
        path, scratch, modalities
            As there.

        Returns
        -------
        Entries
        """
        path = self._there(path)
        table = read_table(path)
        table = table[self._taken(table)]
        names = self._names(table)
        known = self._known(table, names)
        files = {
            one: column for one in modalities if (column := self._column(table, one)) is not None
        }
        paths = {
            one: [
                None if np.ma.is_masked(name) or not str(name) else path.parent / str(name)
                for name in table[column]
            ]
            for one, column in files.items()
        }
        at = {name: row for row, name in enumerate(names)}

        # Rows of one file mostly follow each other.
        @lru_cache(maxsize=2)
        def objects(file, survey):
            return list(read(file, survey))

        def read_entry(key):
            found = []
            for one in files:
                file = paths[one][at[key]]
                if file is not None:
                    found.append(self._found(file, one, known[at[key]], objects))
            if not found:
                raise InputError("its row names no file", object_id=key)
            return found

        keys = names if files else []
        about = f"{len(names)} rows of {path.name}"
        return Entries(keys, read_entry, self._further(table, names), about)

    def _column(self, table, name):
        """Name of a column in the table, or None."""
        given = getattr(self, name)
        if given and given not in table.colnames:
            raise InputError(
                f"source {self.name!r} has no column {given!r}; it has {', '.join(table.colnames)}"
            )
        return given or (name if name in table.colnames else None)

    def _names(self, table):
        column = self._column(table, "object_id")
        if column is None:
            raise InputError(
                f"source {self.name!r}: expected a column object_id, or object_id = 'its name'; "
                f"there are {', '.join(table.colnames)}"
            )
        values, mask = plain_values(table[column])
        if mask.any() or values.dtype.kind not in "iuUO":
            raise InputError(
                f"source {self.name!r}: column {column!r} holds {values.dtype}, or masked values: "
                "expected text or integers for every row"
            )
        names = np.char.strip(values.astype(str)).tolist()
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"source {self.name!r} has it twice", object_id=twice)
        return names

    def _known(self, table, names):
        """What the table says of each object, where it says something."""
        known = [{"object_id": name} for name in names]
        for name, unit in (("ra", u.deg), ("dec", u.deg), ("redshift", u.one)):
            column = self._column(table, name)
            if column is None:
                continue
            (values, mask), given = plain_values(table[column]), table[column].info.unit
            try:
                numbers = u.Unit(given or unit).to(unit, np.where(mask, np.nan, values))
            except u.UnitConversionError as error:
                raise InputError(
                    f"source {self.name!r}, column {column!r} is in {given}: expected "
                    f"{unit or 'no unit'}"
                ) from error
            for row in np.flatnonzero(np.isfinite(numbers)):
                known[row][name] = float(numbers[row])
        return known

    def _found(self, file, modality, known, objects):
        """The object of a row in one of its files."""
        try:
            survey = self.surveys.get(modality) or identify(file)
            inside = objects(file, survey)
            if len(inside) > 1:
                name = known["object_id"]
                inside = [one for one in inside if one.meta.get("object_id") == name]
            if len(inside) != 1:
                raise InputError(f"it holds {len(inside)} objects of this name, expected one")
        except AstroclipError as error:
            return Found(None, "", known, f"{file}: {error}")
        return Found(inside[0], survey, known)


#: Kinds of sources and their classes.
KINDS = {cls.kind: cls for cls in (Mocks, Files, Tabulated)}

"""The hooks that a plugin may implement.

A plugin is a module that is named in the entry-point group ``astroclip_astro`` of an installed
distribution and holds functions marked with `hookimpl`. Each hook yields entries: small typed
descriptions that name what does the work, which is imported on first use.
"""

import pluggy

__all__ = ["GROUP", "HookSpecs", "hookimpl", "hookspec"]

#: Entry-point group, and pluggy's project name.
GROUP = "astroclip_astro"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class HookSpecs:
    """The hooks. Their documentation, one page each with a complete plugin, is in docs/hooks."""

    @hookspec
    def register_surveys(self):
        """Register surveys: how files are recognised and read.

        Yields
        ------
        SurveyEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import SurveyEntry, hookimpl
        >>> @hookimpl
        ... def register_surveys():
        ...     yield SurveyEntry(name="mine", summary="My spectra", modality="spectrum",
        ...                       factory="my_package.survey:Mine")
        >>> next(register_surveys()).name
        'mine'
        """

    @hookspec
    def register_modalities(self):
        """Register modalities: how Astropy objects of one kind become batches of tensors.

        Yields
        ------
        ModalityEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import ModalityEntry, hookimpl
        >>> @hookimpl
        ... def register_modalities():
        ...     yield ModalityEntry(name="photometry", summary="Catalogue magnitudes",
        ...                         factory="my_package.photometry:Photometry")
        >>> next(register_modalities()).kind
        'modality'
        """

    @hookspec
    def register_models(self):
        """Register models with weights.

        Yields
        ------
        ModelEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import ModelEntry, hookimpl
        >>> @hookimpl
        ... def register_models():
        ...     yield ModelEntry(name="my-model", summary="AstroCLIP trained on my survey",
        ...                      factory="my_package.weights:load",
        ...                      modalities=("spectrum",), embed_dim=128, parameters=1_000_000)
        >>> next(register_models()).modalities
        ('spectrum',)
        """

    @hookspec
    def register_tasks(self):
        """Register downstream task heads.

        Yields
        ------
        TaskEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import TaskEntry, hookimpl
        >>> @hookimpl
        ... def register_tasks():
        ...     yield TaskEntry(name="my-redshift", summary="Redshift by nearest neighbours",
        ...                     factory="my_package.tasks:Redshift")
        >>> next(register_tasks()).kind
        'task'
        """

    @hookspec
    def register_sources(self):
        """Register archives that give spectra or cutouts for coordinates.

        Yields
        ------
        SourceEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import SourceEntry, hookimpl
        >>> @hookimpl
        ... def register_sources():
        ...     yield SourceEntry(name="my-archive", summary="Cutouts of my archive",
        ...                       modality="image", factory="my_package.archive:Archive")
        >>> next(register_sources()).modality
        'image'
        """

    @hookspec
    def register_engines(self):
        """Register engines of similarity search.

        Yields
        ------
        EngineEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import EngineEntry, hookimpl
        >>> @hookimpl
        ... def register_engines():
        ...     yield EngineEntry(name="my-index", summary="An index of mine",
        ...                       factory="my_package.index:Engine")
        >>> next(register_engines()).kind
        'engine'
        """

    @hookspec
    def register_catalogs(self):
        """Register embedding catalogs, or the recipes that build them.

        Yields
        ------
        CatalogEntry

        Examples
        --------
        >>> from astroclip_astro.plugins import CatalogEntry, hookimpl
        >>> @hookimpl
        ... def register_catalogs():
        ...     yield CatalogEntry(name="my-catalog", summary="A million of my galaxies",
        ...                        factory="my_package.catalog:recipe")
        >>> next(register_catalogs()).kind
        'catalog'
        """

    @hookspec
    def register_commands(self, cli):
        """Add commands to the command line.

        Parameters
        ----------
        cli : click.Group
            A group to add them to. It starts empty; what is in it afterwards becomes commands of
            ``astroclip``.

        Examples
        --------
        >>> import click
        >>> from astroclip_astro.plugins import hookimpl
        >>> @hookimpl
        ... def register_commands(cli):
        ...     @cli.command()
        ...     def hello():
        ...         click.echo("hello")
        >>> group = click.Group()
        >>> register_commands(group)
        >>> list(group.commands)
        ['hello']
        """

"""What every plugin has to pass: as tests for pytest, and as a list for the command line."""

from astroclip_astro.testing.runner import Result, parametrize_with_checks, run_checks

__all__ = ["Result", "parametrize_with_checks", "run_checks"]

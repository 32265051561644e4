"""The command `hydra-ray`: one word a subcommand, each of which parses, calls and prints.

The top of the house: it imports any room, and no room imports it; `python -m pipelines.WORD` calls the same functions.
"""

from hydra_ray.cli.main import main

__all__ = ["main"]

"""Compare ensemble and students and write the report."""

import sys

from pipelines.command import stage_command

if __name__ == "__main__":
    sys.exit(stage_command("evaluate", __doc__))

"""Train the members that are missing, on Ray Train workers."""

import sys

from pipelines.command import stage_command

if __name__ == "__main__":
    sys.exit(stage_command("train_ensemble", __doc__))

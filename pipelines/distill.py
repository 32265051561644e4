"""Distil the students that are missing from the shards, on Ray Train workers."""

import sys

from pipelines.command import stage_command

if __name__ == "__main__":
    sys.exit(stage_command("distill", __doc__))

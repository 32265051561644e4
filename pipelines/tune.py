"""Search the student with Ray Tune, on the shards."""

import sys

from pipelines.command import stage_command

if __name__ == "__main__":
    sys.exit(stage_command("tune", __doc__))

"""Ask the members about every split, through Ray Data, and write the shards."""

import sys

from pipelines.command import stage_command

if __name__ == "__main__":
    sys.exit(stage_command("predict", __doc__))

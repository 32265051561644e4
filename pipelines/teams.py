"""python -m pipelines.teams RUN --size M: `hydra-ray teams`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["teams", *sys.argv[1:]]))

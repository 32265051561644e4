"""python -m pipelines.results RUN ... > docs/results.md: `hydra-ray results`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["results", *sys.argv[1:]]))

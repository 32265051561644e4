"""python -m pipelines.study NAME: `hydra-ray study`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["study", *sys.argv[1:]]))

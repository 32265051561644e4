"""python -m pipelines.apply STUDENT INPUT ANSWERS [--keep COLUMN ...]: `hydra-ray apply`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["apply", *sys.argv[1:]]))

"""python -m pipelines.tune CONFIG [key=value ...]: `hydra-ray tune`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))

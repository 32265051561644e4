"""python -m pipelines.distill CONFIG [key=value ...]: `hydra-ray distill`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["distill", *sys.argv[1:]]))

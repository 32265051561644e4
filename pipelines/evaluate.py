"""python -m pipelines.evaluate CONFIG [key=value ...]: `hydra-ray evaluate`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))

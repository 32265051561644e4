"""python -m pipelines.export STUDENT EXPORTED [--format NAME ...] [--int8]: `hydra-ray export`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))

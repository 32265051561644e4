"""python -m pipelines.run CONFIG [key=value ...] [--plan]: `hydra-ray run`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))

"""python -m pipelines.check_teachers CONFIG [key=value ...]: `hydra-ray check-teachers`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["check-teachers", *sys.argv[1:]]))

"""python -m pipelines.predict CONFIG [key=value ...]: `hydra-ray predict`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))

"""python -m pipelines.train_ensemble CONFIG [key=value ...]: `hydra-ray train-ensemble`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["train_ensemble", *sys.argv[1:]]))

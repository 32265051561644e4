"""python -m pipelines.write_transfer CONFIG OUT [key=value ...]: `hydra-ray write-transfer`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["write-transfer", *sys.argv[1:]]))

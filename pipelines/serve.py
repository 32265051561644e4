"""python -m pipelines.serve STUDENT [--port PORT]: `hydra-ray serve`, from a checkout."""

import sys

from hydra_ray.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))

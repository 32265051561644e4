"""The subcommands of `hydra-ray` as mains, for a checkout; what they do is in hydra_ray/cli."""

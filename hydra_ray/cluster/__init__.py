"""The Ray edge: with `cli/`, which calls it, the only code that imports ray.

One module a stage, called as the stage is; re-exports nothing, so that a command that starts nothing stays without ray.
"""

"""The Ray edge: with `pipelines/`, the only code that imports ray."""

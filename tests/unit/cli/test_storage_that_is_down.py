"""A store that nobody answers for: one line that names it and the way out, whatever the command."""

import pytest

DOWN = "s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http"
WAY_OUT = "nothing answers: check the network, the region and the endpoint"
WORDS = {
    "plan": lambda path: [path, f"storage={DOWN}"],
    "plan of a sweep": lambda path: [path, f"storage={DOWN}", "--each", "seed=0,1"],
    "run": lambda path: [path, f"storage={DOWN}"],
    "run of a sweep": lambda path: [path, f"storage={DOWN}", "--each", "seed=0,1"],
    "train-ensemble": lambda path: [path, f"storage={DOWN}"],
    "evaluate": lambda path: [path, f"storage={DOWN}"],
    "write-transfer": lambda path: [path, DOWN],
    "study": lambda path: ["how_many_digits", f"storage={DOWN}", "--seeds", "0"],
    "results": lambda path: [DOWN],
    "teams": lambda path: [DOWN, "--size", "2"],
    "apply": lambda path: [DOWN, "rows.parquet", "answers"],
    "export": lambda path: [DOWN, "exported"],
    "serve": lambda path: [DOWN],
}


@pytest.mark.parametrize("name", WORDS)
def test_one_line_names_it(name, path, refused):
    line = refused(name.split()[0], *WORDS[name](path))
    assert "bucket/runs" in line.split(": ")[0]
    assert WAY_OUT in line

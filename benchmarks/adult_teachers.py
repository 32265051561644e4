"""Models that somebody could have for UCI Adult: `python -m benchmarks.adult_teachers OUT [--seed 0]`.

Five LightGBM boosters, which differ by their seeds, and a random forest of fifty trees, both trained on the rows that
the recipe `adult` trains on, and written as the libraries write them: `OUT/lightgbm-0.txt`, ..., `OUT/forest.skops`.
`configs/adult_lightgbm.yaml` and `configs/adult_forest.yaml` distil them. No other row is seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from hydra_ray.config import load_config
from hydra_ray.runs import Run

NUM_BOOSTERS = 5
NUM_TREES = 50


def main() -> None:
    """Train and write all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a folder")
    parser.add_argument("--seed", type=int, default=0, help="of the recipe, which decides the training rows")
    arguments = parser.parse_args()
    run = Run(load_config("adult", [f"seed={arguments.seed}"]))
    rows = run.data.splits["train"].read_all()
    frame = run.data.frame(rows.inputs)
    assert rows.labels is not None
    labels = np.array(run.data.class_names)[rows.labels.astype(np.int64)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    _write_boosters(frame, labels, arguments.out, arguments.seed)
    _write_forest(frame, labels, arguments.out, arguments.seed)


def _write_boosters(frame: pd.DataFrame, labels: np.ndarray, out: Path, seed: int) -> None:
    """Boosters that see other rows and columns at each step."""
    from lightgbm import LGBMClassifier

    frame = frame.astype(dict.fromkeys(_texts(frame), "category"))
    for number in range(NUM_BOOSTERS):
        model = LGBMClassifier(
            n_estimators=300, learning_rate=0.05, num_leaves=31, subsample=0.7, subsample_freq=1, colsample_bytree=0.5,
            random_state=NUM_BOOSTERS * seed + number, verbose=-1,
        )  # fmt: skip
        model.fit(frame, labels)
        model.booster_.save_model(out / f"lightgbm-{number}.txt")


def _write_forest(frame: pd.DataFrame, labels: np.ndarray, out: Path, seed: int) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from skops.io import dump

    texts = _texts(frame)
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts), remainder="passthrough"
    )
    forest = RandomForestClassifier(NUM_TREES, min_samples_leaf=5, random_state=seed, n_jobs=2)
    dump(make_pipeline(encoder, forest).fit(frame, labels), out / "forest.skops")


def _texts(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]


if __name__ == "__main__":
    main()

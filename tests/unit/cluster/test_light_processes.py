"""A process imports what its work needs: on two CPUs most of a short run's seconds are imports."""

import subprocess
import sys

import pytest

CODE = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules)"
HEAVY = {"matplotlib", "scipy", "sklearn", "triton", "wandb"}
PROCESSES = [
    ("channel", {"torch", "ray", "numpy", "hydra_ray.config", *HEAVY}),
    ("trainer", {"hydra_ray.runs", "hydra_ray.models", *HEAVY}),  # all that Ray Train's controller unpickles
    ("member_jobs", HEAVY),
    ("predict_steps", {"ray", "pandas", *HEAVY}),
    ("trial_jobs", HEAVY),
    ("distill", HEAVY),
    ("evaluate_tasks", {"ray.train", "ray.data", "pandas", *HEAVY}),
    ("attacks", {"ray.train", "ray.data", "pandas", *HEAVY}),
]


@pytest.mark.parametrize(("module", "heavy"), PROCESSES, ids=[name for name, _ in PROCESSES])
def test_a_process_imports_what_its_work_needs(module, heavy):
    words = [sys.executable, "-c", CODE, f"hydra_ray.cluster.{module}"]
    loaded = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert f"hydra_ray.cluster.{module}" in loaded
    assert not heavy & loaded


def test_the_controller_of_a_job_gets_no_more_than_a_reference_to_it(monkeypatch):
    import ray
    from ray.train import ScalingConfig
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

    from hydra_ray.cluster.trainer import Trainer

    put = {}
    monkeypatch.setattr(ray, "put", lambda value: put.setdefault("reference", value) and "reference")
    trainer = Trainer(print, "job", scaling_config=ScalingConfig(num_workers=1))
    assert put == {"reference": (print, "job")}
    assert trainer.train_loop_config == {"job": "reference"}
    callbacks = trainer._create_default_callbacks()
    assert callbacks
    assert not any(isinstance(each, DatasetsCallback) for each in callbacks)

"""train_ensemble with teams of workers, and distill with a student in parts: as one worker and whole copies do it."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import TWO_WORKERS, copied, events, kill_a_train_worker, leftovers, meanwhile, tiny, wait_for

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
TEAM = [*TWO_WORKERS, "ensemble.workers_per_member=2", "ensemble.strategy=fsdp", "ensemble.num_members=6"]


def test_a_killed_team_goes_on_and_its_members_are_those_of_one_worker(ray_session, small_run, tmp_path):
    """Four members of one worker each are there; a team trains two more."""
    folder = copied(small_run, tmp_path)

    def kill_in_training() -> None:
        wait_for(lambda: [e for e in events(folder, "train_ensemble", "epoch") if e["member"] > 3], 180, "first epoch")
        kill_a_train_worker()

    with meanwhile(kill_in_training):
        run_stages(Run(tiny(tmp_path, *TEAM)), ["train_ensemble"])
    assert len(events(folder, event="restart")) == 1
    assert [each["member"] for each in events(folder, "train_ensemble", "member")][-2:] == [4, 5]
    assert leftovers(folder) == []
    alone = tmp_path / "alone"
    run_stages(Run(tiny(alone, "cluster.local=true", "ensemble.num_members=6")), ["train_ensemble"])
    for number in (4, 5):
        ours, theirs = (
            load_file(place / f"ensemble/member-{number:03d}/model.safetensors") for place in (folder, alone / "tiny")
        )
        assert list(ours) == list(theirs)
        assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) < 1e-3  # AdamW


def test_students_in_parts_are_those_of_whole_copies(ray_session, small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    shutil.rmtree(folder / "students")
    run_stages(Run(tiny(tmp_path, *TWO_WORKERS, "distill.strategy=fsdp")), ["distill"])
    for kind in ("hydra", "kd"):
        ours, theirs = (load_file(place / f"students/{kind}/model.safetensors") for place in (folder, small_run))
        assert list(ours) == list(theirs)
        assert max(np.abs(ours[name] - theirs[name]).max() for name in ours) < 1e-5
    assert leftovers(folder) == []

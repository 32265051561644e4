"""The command killed in every stage and between stages, each time started again: nothing finished is done twice.

Workers of a killed driver live some two seconds longer, and what they finish in them counts.
"""

import json
import signal

import pandas as pd
import pytest
from support import WORKERS, Command, events, leftovers, wait_for

pytestmark = pytest.mark.timeout(900)
SLOWER = [
    "ensemble.options={width: 16, seconds: 0.1}",
    "distill.body_options={width: 16, seconds: 0.08}",
    "tune.epochs=1",
]
WORDS = ["pipelines.run", "tiny.yaml", "storage=killed", "distill.use_best_trial=true", *SLOWER, *WORKERS]


class Story:
    """One run folder and the commands that work on it, one after the other."""

    def __init__(self, project):
        self.project, self.folder = project, project / "killed" / "tiny"
        self.seen = 0

    def new_events(self):
        """Events since this was last called."""
        found = events(self.folder)
        new, self.seen = found[self.seen :], len(found)
        return new

    def stop_when(self, condition, how="kill"):
        """Start the command, stop it as soon as `condition()` holds; it must not have ended by itself."""
        command = Command(WORDS, self.project)
        wait_for(lambda: condition() or not command.is_running, 240, "the moment to stop the command")
        assert command.is_running, command.finish().err
        command.send(signal.SIGKILL) if how == "kill" else command.interrupt()
        return command.finish(60)

    def happened(self, stage, event):
        """Whether such an event came since the last look."""
        return any(each["stage"] == stage and each["event"] == event for each in events(self.folder)[self.seen :])

    def published_members(self):
        return {int(path.parent.name[-3:]) for path in self.folder.glob("ensemble/member-*/model.json")}


@pytest.fixture(scope="module")
def story(project):
    return Story(project)


def test_in_train_ensemble(story):
    story.stop_when(lambda: story.happened("train_ensemble", "member"))
    assert 1 <= len(story.published_members()) < 4
    story.new_events()


def test_in_predict_after_members_that_were_there_are_not_trained_again(story):
    there = story.published_members()
    story.stop_when(lambda: story.happened("predict", "shard"))
    trained = {each["member"] for each in story.new_events() if each["event"] in ("epoch", "member")}
    assert trained
    assert not trained & there
    assert story.published_members() == {0, 1, 2, 3}


def test_ctrl_c_in_tune_after_finished_shards_are_not_asked_again(story):
    shards = {str(path.relative_to(story.folder)) for path in story.folder.glob("predictions/*/part-*")}
    shards |= {str(path.relative_to(story.folder)) for path in story.folder.glob("predictions/.attempt-*/part-*")}
    assert shards
    interrupted = story.stop_when(lambda: story.happened("tune", "trial_epoch"), how="ctrl-c")
    new = story.new_events()
    published = list(story.folder.glob("predictions/*/part-*"))
    assert len([each for each in new if each["event"] == "shard"]) <= len(published) - len(shards)
    assert {each["stage"] for each in new if each["event"] == "skipped"} == {"train_ensemble"}
    assert interrupted.code == 130
    assert interrupted.err == "interrupted; the same command goes on from here\n"
    assert not list(story.folder.glob("tune/*/manifest.json"))
    wait_for(lambda: not interrupted.own_processes(), 15, "end of all processes")


def test_in_distill_after_the_search_went_on(story):
    story.stop_when(lambda: list(story.folder.glob("students/.attempt-hydra@*/phase-1-*")))
    table = pd.read_parquet(story.folder / "tune" / "hydra" / "trials.parquet")
    assert len(table) == table["trial"].nunique() == 4
    assert table["validation_nll"].notna().all()
    story.new_events()


def test_the_last_start_goes_on_at_the_step_it_had_reached(story):
    last = Command(WORDS, story.project).finish().require_success()
    new = story.new_events()
    assert {each["stage"] for each in new if each["event"] == "skipped"} == {"train_ensemble", "predict", "tune"}
    first_epoch = next(each for each in new if each["event"] == "epoch")
    assert first_epoch["student"] == "hydra"
    assert first_epoch["phase"] == "heads"
    assert first_epoch["resumed_at"] > 0
    best = json.loads((story.folder / "tune" / "hydra" / "manifest.json").read_text())["best"]["parameters"]
    student = json.loads((story.folder / "students" / "hydra" / "config.json").read_text())["key"]
    assert student["distill"]["head_width"] == best["head_width"]
    assert student["distill"]["temperature"] == best["temperature"]
    assert last.out.rstrip().endswith("report: killed/tiny/report/report.html")
    assert last.err == ""
    assert leftovers(story.folder) == []

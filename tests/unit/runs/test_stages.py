"""The table of stages: one more row is seen by the plan and the chain, and every row has its function and its main."""

import json
from functools import partial
from importlib import import_module

import pytest
from helpers.finished import loaded, recipe
from support import REPO

from hydra_ray.cli import main
from hydra_ray.cluster import pipeline
from hydra_ray.config.sections import EvaluateConfig
from hydra_ray.runs.run import Run
from hydra_ray.runs.stages import STAGES, StageSpec
from hydra_ray.storage.artifact import Artifact

COUNT = "toy_count"


def counts(run: Run, name: str = COUNT) -> list[Artifact]:
    key = {"repeats": run.config.evaluate.latency_repeats}
    return [Artifact(run.folder / name, key, fence=run.fence)]


def count(run: Run, stage) -> None:
    """What a user's module would hold: the function of the toy stage."""
    (artifact,) = STAGES[stage.name].artifacts(run)
    artifact.attempt.write("count.txt", b"3")
    artifact.publish({})
    stage.event("counted")


def toy(name: str = COUNT, **facts) -> StageSpec:
    given = {"help": "count", "needs": (), "artifacts": counts, "unit": "counts", "cost": lambda run: "next to nothing"}
    return StageSpec(name, run=f"{__name__}:count", **{**given, **facts})


@pytest.fixture
def table():
    """Puts rows into the table in place of those that are there; afterwards it is as before, also in its order."""
    before = dict(STAGES)

    def table(*rows: StageSpec) -> None:
        STAGES.clear()
        STAGES.update({row.name: row for row in rows})

    yield table
    table(*before.values())


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(pipeline._Chain, "_connect", lambda self: None)
    return recipe(tmp_path)


@pytest.fixture
def plan(path, capsys):
    """Lines of `--plan`, by their first word."""

    def plan(*overrides: str) -> dict[str, str]:
        assert main(["run", str(path), *overrides, "--plan"]) == 0
        return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}

    return plan


def events(run: Run) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in run.folder.read("events.jsonl").splitlines()]
    return [(each["stage"], each["event"]) for each in found]


def test_a_new_row_is_in_the_plan_run_skipped_and_redone(path, plan, table):
    table(*STAGES.values(), toy())
    assert plan()[COUNT] == f"{COUNT:<15} waits  after train_ensemble; whole stage: next to nothing"
    assert main([COUNT, str(path)]) == 0
    assert main([COUNT, str(path)]) == 0
    assert events(loaded(path)) == [(COUNT, name) for name in ("start", "place", "counted", "done", "skipped")]
    assert (loaded(path).folder / COUNT).read("count.txt") == b"3"
    changed = "evaluate.latency_repeats=7"
    pipeline.run_stages(loaded(path, changed), [COUNT])
    assert [name for _, name in events(loaded(path))[5:]] == ["start", "place", "counted", "done"]


def test_where_one_stage_works_is_no_wish_for_the_next(path, table):
    """A run that is kept, as by a notebook, is asked for stage after stage."""
    table(toy())
    for wish in ("auto", True):
        run = loaded(path, f"cluster.local={str(wish).lower()}", f"name=wish-{wish}")
        pipeline.run_stages(run, [COUNT])
        assert run.config.cluster.local == wish


def test_a_row_alone_is_to_do_then_done_then_names_the_key_that_changed(path, plan, table):
    table(toy())
    assert plan()[COUNT].split(None, 1)[1] == "to do  0/1 counts done; whole stage: next to nothing"
    pipeline.run_stages(loaded(path), STAGES)
    assert plan()[COUNT].split(None, 1)[1].startswith("done   1/1 counts done;")
    before = EvaluateConfig().latency_repeats
    line = plan("evaluate.latency_repeats=7")[COUNT]
    assert f"to do  0/1 counts done, 1 redone because repeats: {before} -> 7" in line


def test_stages_run_in_the_order_of_the_table(path, table):
    names = ["z", "m", "a"]
    table(*(toy(name, artifacts=partial(counts, name=name)) for name in names))
    pipeline.run_stages(loaded(path), STAGES)
    assert [stage for stage, event in events(loaded(path)) if event == "counted"] == names


def test_a_stage_whose_needs_are_missing_says_which_command_makes_them(path, table):
    table(toy("first"), toy("second", needs=("first",), artifacts=partial(counts, name="second")))
    with pytest.raises(pipeline.UserError, match=r"second: .*toy_count is missing .*; run the first stage first"):
        pipeline.run_stages(loaded(path), ["second"])


def test_a_stage_that_trains_on_shards_is_refused_without_them(path, table):
    table(toy(trains_on_shards=True))
    with pytest.raises(pipeline.UserError, match=r"transfer: no shards there; run the predict stage first"):
        pipeline.run_stages(loaded(path), [COUNT])


def not_compiled(config) -> str | None:
    return None if config.ensemble.compile else "ensemble.compile=false"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ensemble.compile=false", "off    ensemble.compile=false"),
        ("ensemble.compile=true", "to do  0/1 counts done;"),
    ],
)
def test_a_stage_is_off_where_its_row_says_why(path, plan, table, word, expected):
    table(toy(off=not_compiled))
    assert plan(word)[COUNT].split(None, 1)[1].startswith(expected)
    if "off" in expected:
        pipeline.run_stages(loaded(path, word), STAGES)
        assert COUNT not in loaded(path).folder.folders()


@pytest.mark.parametrize("stage", STAGES.values(), ids=list(STAGES))
def test_every_row_has_its_function_and_a_main_of_its_name(stage):
    module, name = stage.run.split(":")
    assert (module, name) == (f"hydra_ray.cluster.{stage.name}", stage.name)
    assert callable(getattr(import_module(module), name))
    assert f'main(["{stage.name}", *sys.argv[1:]])' in (REPO / "pipelines" / f"{stage.name}.py").read_text()


@pytest.mark.parametrize("stage", STAGES.values(), ids=list(STAGES))
def test_a_stage_needs_only_stages_before_it(stage):
    before = list(STAGES)[: list(STAGES).index(stage.name)]
    assert set(stage.needs) <= set(before)

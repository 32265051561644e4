"""Results of stages without Ray: members whose weights are as they were drawn, shards of what they say, students."""

from pathlib import Path
from typing import Any

import torch

from hydra_ray.config.load import load_config
from hydra_ray.config.students import StudentKind
from hydra_ray.data import VALIDATION_VIEWS
from hydra_ray.inference import Student
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.members import Member
from hydra_ray.randomness import seed_of
from hydra_ray.runs.model_store import load_published, publish_model
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.runs.sweep import Sweep, sweep_of
from hydra_ray.shards.loader import BatchReader
from hydra_ray.shards.schema import load, no_labels, rows_table, with_logits, write_shard
from hydra_ray.storage.artifact import Artifact
from hydra_ray.training.loop import DistributedContext
from hydra_ray.training.member import MemberSpec
from hydra_ray.training.student import InputOutputScaling, distil, plan_of
from hydra_ray.training.student_figures import HeldOut, facts_of

RECIPE = """
data: {source: digits, max_train_rows: 200}
ensemble: {num_members: 5, options: {hidden: [4]}, epochs: 1}
transfer: {views: [{view: identity}]}
distill: {batch_size: 64, epochs: 1, mean_phase_epochs: 1, head_width: 2}
cluster: {num_workers: 2, object_store_mb: 100}
"""


def recipe(folder: Path, text: str = RECIPE) -> Path:
    """A recipe whose results are beside it in `runs`."""
    path = folder / "tiny.yaml"
    path.write_text(f"storage: {folder}/runs\n{text}")
    return path


def four_runs(folder: Path) -> tuple[Sweep, list[Run]]:
    """A sweep over two seeds and two temperatures, and its runs, which have made nothing yet."""
    path = recipe(folder)
    sweep = sweep_of(["seed=0,1", "distill.temperature=1,2"], lambda words: load_config(path, words))
    assert sweep is not None
    return sweep, sweep.make_runs()


def loaded(path: Path, *overrides: str) -> Run:
    """The run of a recipe."""
    return Run(load_config(path, overrides))


def publish_members(run: Run) -> None:
    """All members that are not there yet, untrained."""
    rows = run.data.splits["train"].read_all()
    assert rows.labels is not None
    member_spec = MemberSpec.of(run.task, run.member_spec(), rows.inputs, rows.labels)
    for number, artifact in enumerate(run.members()):
        if not artifact.is_done:
            of_group = member_spec.of_group(
                run.member_spec(number), run.group_weights(run.config.ensemble.group_of(number))
            )
            model = of_group.build(seed_of(run.config.seed, "member weights", number))
            publish_model(artifact, model, model.spec, {"member": number, "seed": run.config.seed, "figures": {}})


def publish_shards(run: Run) -> None:
    """One shard a split, all views of it untouched rows."""
    members = [load_published(artifact) for artifact in run.members()]
    ensemble = Ensemble([member for member in members if isinstance(member, Member)])
    entries = [{"id": artifact.folder.name, "fingerprint": artifact.digest()} for artifact in run.members()]
    for split in run.split_names:
        source = {TRANSFER: "train", VALIDATION_VIEWS.name: "validation"}.get(split, split)
        rows = run.data.splits[source].read_all()
        shards = run.shards(split)
        with torch.no_grad():
            logits = ensemble(torch.from_numpy(rows.inputs)).float().numpy().astype(run.shard_dtype)
        labels = no_labels(len(rows), run.data.task) if rows.labels is None else rows.labels
        table = with_logits(rows_table(rows.row_id, 0, rows.inputs, labels), logits)
        facts = {"split": split, "members": entries, "class_names": [], "views": {}, "seed": run.config.seed}
        write_shard(shards.attempt, "part-000-00000.parquet", table, facts)
        shards.publish({"rows": len(rows.row_id), "members": entries, "views": {}})


def publish_student(run: Run, kind: StudentKind) -> Artifact:
    """A student from the shards, fitted as `distill` does it but in this process."""
    config, artifact = run.config, run.student(kind)
    transfer, validation = (run.shards(split).folder for split in (TRANSFER, "validation"))
    rows, device = load(validation), torch.device("cpu")
    views = run.shards(VALIDATION_VIEWS.name).folder if VALIDATION_VIEWS.name in run.split_names else None
    held_out = HeldOut(rows, None if views is None else load(views))
    facts: dict[str, Any] = {"input_shape": rows.inputs.shape[1:], "num_outputs": run.data.num_outputs}
    facts["categories"] = run.data.categories
    plan = plan_of(config, run.task, kind, num_members=config.ensemble.num_members, **facts)
    batches = BatchReader(
        transfer,
        batch_size=config.distill.batch_size,
        seed=seed_of(config.seed, "student order", kind),
        num_members=plan.num_members,
        rank=0,
        num_ranks=1,
        max_bytes=1 << 30,
    )
    ends = InputOutputScaling.of(run.task, load(transfer), plan.num_members, run.data.categories)
    options: dict[str, Any] = {
        "device": device,
        "ranks": DistributedContext(),
        "checkpoints": None,
        "report": lambda figures: None,
    }
    student = distil(plan, batches, held_out, ends, **options)
    facts_beside = {**facts_of(plan, student, held_out), **run.about}
    finished = Student(student, facts_beside)
    finished.fit_thresholds(rows.inputs, rows.labels, plan.seed)
    publish_model(artifact, student, plan.spec, facts_beside, finished.files_beside())
    return artifact


def published(folder: Path) -> list[str]:
    """Everything in a folder that looks done or half done."""
    found = [
        *folder.rglob("manifest.json"),
        *folder.rglob("model.json"),
        *folder.rglob("students/*/config.json"),
        *folder.rglob(".attempt-*"),
    ]
    return sorted(str(path.relative_to(folder)) for path in found)

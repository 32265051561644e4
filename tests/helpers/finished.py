"""Results of stages without running them: members whose weights are as they were drawn, and shards of what they say."""

from pathlib import Path

import torch

from hydra_ray.config import Config, load_config
from hydra_ray.model_store import load_published, publish_model
from hydra_ray.models.members import Ensemble, Member, ModelSpec, Normalise, build_member
from hydra_ray.predictions import no_labels, rows_table, with_logits, write_shard
from hydra_ray.stages import TRANSFER, Run

RECIPE = """
data: {source: digits, max_train_rows: 200}
ensemble: {num_members: 5, options: {hidden: [4]}, epochs: 1}
transfer: {views: [{view: identity}]}
distill: {batch_size: 64, epochs: 1, mean_epochs: 1, head_width: 2}
cluster: {num_workers: 2, object_store_mb: 100}
"""


def recipe(folder: Path, text: str = RECIPE) -> Path:
    """A recipe whose results are beside it in `runs`."""
    path = folder / "tiny.yaml"
    path.write_text(f"storage: {folder}/runs\n{text}")
    return path


def loaded(path: Path, *overrides: str) -> Run:
    """The run of a recipe."""
    return Run(load_config(path, overrides))


def publish_members(run: Run) -> None:
    """All members that are not there yet, untrained."""
    normalise = Normalise.fit(run.data.splits["train"].read_all().inputs)
    for number, artifact in enumerate(run.members()):
        if not artifact.is_done:
            spec = _member_spec(run.config, run)
            model = build_member(spec, (run.config.seed, number), normalise)
            publish_model(artifact, model, spec, {"member": number, "seed": run.config.seed, "figures": {}})


def publish_shards(run: Run) -> None:
    """One shard a split, all views of it untouched rows."""
    members = [load_published(artifact) for artifact in run.members()]
    ensemble = Ensemble([member for member in members if isinstance(member, Member)])
    entries = [{"id": artifact.folder.name, "fingerprint": artifact.digest()} for artifact in run.members()]
    for split in run.split_names:
        rows, shards = run.data.splits["train" if split == TRANSFER else split].read_all(), run.shards(split)
        with torch.no_grad():
            logits = ensemble(torch.from_numpy(rows.inputs)).float().numpy().astype(run.shard_dtype)
        labels = no_labels(len(rows), run.data.task) if rows.labels is None else rows.labels
        table = with_logits(rows_table(rows.row_id, 0, rows.inputs, labels), logits)
        facts = {"split": split, "members": entries, "class_names": [], "views": {}, "seed": run.config.seed}
        write_shard(shards.attempt, "part-000-00000.parquet", table, facts)
        shards.publish({"rows": len(rows.row_id), "members": entries, "views": {}})


def _member_spec(config: Config, run: Run) -> ModelSpec:
    ensemble = config.ensemble
    return ModelSpec("member", ensemble.architecture, run.data.input_shape, run.data.num_outputs, ensemble.options)


def published(folder: Path) -> list[str]:
    """Everything in a folder that looks done or half done."""
    found = [*folder.rglob("manifest.json"), *folder.rglob("model.json"), *folder.rglob(".attempt-*")]
    return sorted(str(path.relative_to(folder)) for path in found)

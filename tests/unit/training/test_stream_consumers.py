"""Who draws from which random stream: all stages of a tiny run in this process, every derived seed on record."""

import ast
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers.dataset_files import opened
from helpers.shards import synthetic, write, write_views
from support import REPO
from torch import nn

from hydra_ray import randomness
from hydra_ray.cluster import distill as students
from hydra_ray.cluster import predict_steps as shard_steps
from hydra_ray.cluster.plan_item import PlanItem
from hydra_ray.config import AttacksConfig
from hydra_ray.config.load import validate
from hydra_ray.data import TEST, VALIDATION, generated, unknown_split
from hydra_ray.data.folds import left_out
from hydra_ray.evaluation.attacks import AttackedRows, right_under_attack
from hydra_ray.evaluation.metrics_json import Answers, metrics_of
from hydra_ray.inference import answering_of
from hydra_ray.models import Network
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.models.student import build_student
from hydra_ray.randomness import STREAMS, THROWN_AWAY, Draws, seed_of
from hydra_ray.runs.run import Run
from hydra_ray.shards import Sharing
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training import search_space
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.loop import DistributedContext
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stacked import StackSlot, fit_stacked
from hydra_ray.training.student import HeldOut, InputOutputScaling, distil

pytestmark = pytest.mark.usefixtures("one_thread")

MODULES = sorted(path for package in ("hydra_ray", "pipelines") for path in (REPO / package).rglob("*.py"))
SEED = 987_654
ROOTS = (SEED, 0, THROWN_AWAY)  # the run's seed, that of toy data, that of stacks, whose networks draw nothing
KINDS = ("hydra", "kd", "end2", "proxy_end2")
NOISY = {"view": "gaussian_noise"}
CONFIG = {
    "name": "streams",
    "seed": SEED,
    "data": {"source": "digits", "max_train_rows": 301, "unknown": {"one": NOISY, "other": NOISY}},
    "ensemble": {"num_members": 4, "epochs": 2, "batch_size": 20, "augment": {"view": "affine"}, "folds": 2},
    "predict": {"members_per_row": 2},
    "transfer": {"views": [{"view": "affine", "share": 0.7}, {"view": "affine", "share": 0.3}]},
    "students": list(KINDS),
    "distill": {
        "body_options": {"hidden": [8]}, "epochs": 2, "mean_phase_epochs": 1, "batch_size": 12, "head_width": 4,
    },
    "tune": {"num_trials": 2, "space": {"head_width": [2, 4]}},
}  # fmt: skip


class Record:
    """Every derivation of a seed, by who was at work."""

    def __init__(self):
        self.who, self.derived = "", defaultdict(set)

    def seed_of(self, run_seed, stream, *parts):
        seed = randomness.seed_of(run_seed, stream, *parts)
        self.derived[self.who].add((seed, run_seed, stream, parts))
        return seed


def with_dropout(input_shape, num_outputs):
    """A member that draws while it learns."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 8), nn.Dropout(0.5))
    return Network(body, nn.Linear(8, num_outputs), 8)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Of all stages."""
    found, patch, place = Record(), pytest.MonkeyPatch(), tmp_path_factory.mktemp("streams")
    for name, module in list(sys.modules.items()):
        if name.startswith("hydra_ray.") and getattr(module, "seed_of", None) is seed_of and module is not randomness:
            patch.setattr(module, "seed_of", found.seed_of)
    config = validate({**CONFIG, "storage": str(place)}, "here")
    for work in (data_splits, members, views_of_rows, student_fits, evaluation, attacks, thresholds, searches):
        work(found, config, place)
    patch.undo()
    return found.derived


def data_splits(record, config, place):
    record.who = "toy data"
    [make() for make in generated.GENERATED.values()]
    record.who = "splits"
    Run(config).data.splits["train"].row_ids()
    record.who = "folds"
    left_out(np.arange(9), np.arange(4), 2, SEED)


def members(record, config, place):
    rows = synthetic(44, shape=(4, 4, 1))
    train = LabelledRows(*(torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels)))
    kept = [Checkpoints(Folder.open(str(place / f"{number}")), f"{number}", print) for number in range(4)]
    spec = ModelSpec("member", "test_stream_consumers:with_dropout", (4, 4, 1), 4, {})
    common = (train, train)
    for number in (0, 1):
        record.who = f"member {number}"
        member_spec = MemberSpec.of(CLASSIFICATION, spec, rows.inputs, rows.labels)
        fit_member(number, config.ensemble, SEED, member_spec, *common, kept[number], lambda figures: None)
    member_spec = MemberSpec.of(CLASSIFICATION, replace(spec, architecture="mlp"), rows.inputs, rows.labels)
    record.who = "members 2 and 3"
    slots = [StackSlot(number, torch.arange(44), kept[number]) for number in (2, 3)]
    fit_stacked(slots, config.ensemble, SEED, member_spec, *common, lambda figures: None)


def views_of_rows(record, config, place):
    run = Run(config)
    for split in run.split_names:
        for number in run.views(split):
            record.who = f"{split}, view {number}"
            rows_under(run, split, number)
            run.rows_of_view(split, number)


def rows_under(run, split, number):
    """The pixels that members are asked about."""
    item = PlanItem(split, number, 0, 400)
    work = shard_steps.Work(run.config, run.data, [], {}, {split: run.views(split)}, {split: ()}, {}, None, "float16")
    work.asked(item, np.arange(9))
    return shard_steps.inputs_of(shard_steps.ReadRows(work)(pa.table({"item": [item.to_text()]})))


def student_fits(record, config, place):
    transfer, validation = Folder.open(str(place / "transfer")), Folder.open(str(place / "validation"))
    write_views(transfer, 2, num_rows=30, members=4)
    write(validation, "part-000-00000.parquet", synthetic(20, members=4, view=7))
    source, held = students.StudentInputs(CLASSIFICATION, transfer, validation, [0, 1, 2, 3], 4), load(validation)
    for kind in KINDS:
        record.who = kind
        plan = source.plan(config, kind, held.inputs.shape[1:])
        ends = InputOutputScaling.of(CLASSIFICATION, held, plan.num_members)
        batches = source.batches(config, plan, DistributedContext(), source.rows(1, Sharing()))
        how = {
            "device": torch.device("cpu"),
            "ranks": DistributedContext(),
            "checkpoints": None,
            "report": lambda figures: None,
        }
        distil(plan, batches, HeldOut(held), ends, **how)


def evaluation(record, config, place):
    record.who = "intervals"
    outputs = {name: torch.randn(20, 4, 3) for name in (VALIDATION, TEST, unknown_split("one"), unknown_split("other"))}
    said = {name: CLASSIFICATION.of_members(each) for name, each in outputs.items()}
    labels = {name: torch.arange(20) % 3 for name in (VALIDATION, TEST)}
    views = frozenset({unknown_split("one")})
    metrics_of(
        Answers(CLASSIFICATION, {"ensemble": said, "hydra": said}, labels, views), {}, {}, num_samples=2, seed=SEED
    )


def attacks(record, config, place):
    """All predictors are attacked on the same rows from the same starts."""
    record.who = "attacks"
    pixels = torch.zeros(6, 4, 4, 1, dtype=torch.uint8)
    rows = AttackedRows.chosen(torch.arange(6), pixels, torch.zeros(6, dtype=torch.long), 4, SEED)
    right_under_attack(
        {"one": lambda rows_B: rows_B.flatten(1).log_softmax(1)}, "one", rows, AttacksConfig(steps=1), SEED
    )


def thresholds(record, config, place):
    """All kinds' are chosen on the same rows."""
    record.who = "thresholds"
    said = CLASSIFICATION.of_members(torch.randn(20, 4, 3))
    answering_of(CLASSIFICATION).fit(said, np.arange(20) % 3, SEED)


def searches(record, config, place):
    for kind in KINDS:
        for number in (0, 1):
            record.who = f"trial {number} of {kind}"
            for sampler in ("optuna", "random"):
                search_space.drawn(config.tune.space, sampler, SEED, kind, number)


# ---------------------------------------------------------------- nobody shares a stream


def test_no_two_consumers_share_a_seed(record):
    owners = defaultdict(set)
    for who, derived in record.items():
        for seed, *_ in derived:
            owners[seed].add(who)
    assert not {seed: who for seed, who in owners.items() if len(who) > 1}
    assert len(record) == 22 + 2 * len(KINDS)


def test_one_seed_is_for_one_thing(record):
    """Whatever differs in stream, member, kind, view, epoch or step differs in its seed."""
    every = {each for derived in record.values() for each in derived}
    assert len({seed for seed, *_ in every}) == len(every) > 150
    epochs = {parts for _, _, stream, parts in every if stream == "member order"}
    assert epochs == {(member, epoch) for member in range(4) for epoch in range(2)}


def test_a_seed_that_others_come_from_is_drawn_from_by_nobody(record):
    """A fit and a reader take a seed for the run's: never the run's own, and never one that is drawn from."""
    every = {each for derived in record.values() for each in derived}
    below = {run_seed: stream for _, run_seed, stream, _ in every if run_seed not in ROOTS}
    above = {stream for seed, _, stream, _ in every if seed in below}
    assert above == {"member dropout", "student dropout", "student order"}
    assert set(below.values()) == {"step of a fit", "epoch of a reader"}
    assert {stream for _, run_seed, stream, _ in every if run_seed in (SEED, 0)}.isdisjoint(below.values())


def test_every_stream_is_used(record):
    used = {stream for derived in record.values() for _, _, stream, _ in derived}
    unlike = {"thrown away", "rows of a check", "teams"}  # the last is of no stage
    assert used == set(STREAMS) - unlike, "which stand for what nobody looks at, and for no run"


# ---------------------------------------------------------------- nobody draws beside the registry


DRAWING = {
    "manual_seed", "default_rng", "Generator", "RandomState", "SeedSequence", "fork_rng", "set_state", "set_rng_state",
    "seed", "seed_everything", "initial_seed",
}  # fmt: skip
HOME = {"randomness.py"}


def tree_of(path):
    return ast.parse(path.read_text(), str(path))


def called(node):
    return ast.unparse(node.func).rpartition(".")[2]


def is_seed(node):
    """A name with `seed` in it, or a call that makes one."""
    return isinstance(node, (ast.Name, ast.Attribute)) and "seed" in ast.unparse(node).rpartition(".")[2].lower()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))
def test_generators_are_made_and_seeds_derived_in_one_module(path):
    if path.name in HOME:
        return
    owned = {node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree_of(path)):
        where = f"{path}:{getattr(node, 'lineno', 0)}: take it from hydra_ray.randomness"
        if isinstance(node, ast.Call) and called(node) in DRAWING - owned:
            raise AssertionError(where)
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
            assert not any(is_seed(part) for part in parts) or path.name == "draws.py", where
        if isinstance(node, ast.Import):
            assert "random" not in {alias.name for alias in node.names}, where
        if isinstance(node, ast.Call) and called(node) == "child":
            assert path.name == "draws.py", where


@pytest.mark.parametrize("line", [
    "torch.manual_seed(0)", "rng = np.random.default_rng((seed, epoch))", "torch.Generator()", "x = self._seed + step",
    "seed ^= 3", "import random", "child(seed, number)",
])  # fmt: skip
def test_what_is_refused_elsewhere(tmp_path, line):
    path = tmp_path / "module.py"
    path.write_text(line)
    with pytest.raises(AssertionError, match="randomness"):
        test_generators_are_made_and_seeds_derived_in_one_module(path)


# ---------------------------------------------------------------- what the collisions did


def test_a_student_starts_as_no_member():
    """The members' own architecture: until streams had names, the student's body was member 1's."""
    spec = ModelSpec("member", "mlp", (4, 4, 1), 4, {"hidden": [8]})
    bodies = [build_member(spec, seed_of(3, "member weights", member)).network.body for member in range(4)]
    student = replace(spec, kind="student", num_heads=1, head_width=4)
    bodies += [build_student(student, seed_of(3, "student weights", kind)).body for kind in KINDS]
    weights = [next(body.parameters()).detach().flatten() for body in bodies]
    between = np.corrcoef(torch.stack(weights).numpy())[~np.eye(len(weights), dtype=bool)]
    assert abs(between).max() < 4.5 / np.sqrt(len(weights[0]))


@pytest.mark.parametrize(
    ("source", "number", "num_rows"), [("spirals", 1, 3000), ("spirals", 3, 3000), ("wave", 1, 400)]
)
def test_noise_of_toy_data_is_the_same_in_test_rows_whatever_the_seed(source, number, num_rows):
    """With seed=100 rows were ranked by the numbers that made them: test noise 1.67 rms against 0.78."""
    noise = generated._normal(source, number, num_rows)
    for seed in (0, 1, 99, 100, 101, 12_345):
        test = noise[opened(source, seed=seed).splits["test"].row_ids()]
        assert abs(np.sqrt((test**2).mean()) - 1) < 4.5 / np.sqrt(2 * len(test)), seed
        assert abs(test.mean()) < 4.5 / np.sqrt(len(test)), seed


def test_two_unknown_sets_of_one_view_differ_and_so_do_the_transfer_sets_rows(tmp_path):
    run = Run(validate({**CONFIG, "storage": str(tmp_path)}, "here"))
    plain = rows_under(run, "test", 0).astype(float)
    one, other = (rows_under(run, f"unknown-{name}", 1).astype(float) - plain for name in ("one", "other"))
    inside = (plain > 80) & (plain < 175)  # where the noise is not clipped
    assert abs(np.corrcoef(one[inside], other[inside])[0, 1]) < 4.5 / np.sqrt(inside.sum())
    assert one[inside].std() == pytest.approx(other[inside].std(), rel=0.1)


def test_draws_of_views_train_and_test_rows_have_nothing_in_common():
    rows = torch.arange(20_000)
    seeds = [seed_of(0, "view", split, view) for split in ("transfer", "test", "unknown-a") for view in (0, 1, 2)]
    drawn = np.stack([Draws.of(seed, rows).uniform(0, 1)[:, 0].numpy() for seed in seeds])
    assert abs(np.corrcoef(drawn)[~np.eye(len(drawn), dtype=bool)]).max() < 4.5 / np.sqrt(len(rows))


def test_what_older_streams_made_is_stale_and_the_reason_is_named(tmp_path):
    run = Run(validate({**CONFIG, "storage": str(tmp_path)}, "here"))
    member = run.member(0)
    old = replace(member, key={**member.key, "streams": 1})
    old.attempt.write("model.safetensors", b"weights")
    old.publish({})
    assert member.status() == "stale"
    assert member.changes() == [f"streams: 1 -> {randomness.STREAMS_VERSION}"]
    for artifact in (run.shards("test"), run.search("hydra"), run.student("hydra"), run.report()):
        assert artifact.key["streams"] == randomness.STREAMS_VERSION

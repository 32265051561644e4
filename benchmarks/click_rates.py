"""Networks for click-through rates on UCI Adult: `python -m benchmarks.click_rates [--rows 10000] [--seed 0]`.

A logistic regression, a deep network, xDeepFM, and DexDeepFM without and with its objective: members, the ensemble of
five, and its Hydra student, with the settings of `configs/adult_ctr.yaml` and everything in this process on one thread.
One line of a table for each network, as soon as it is there. Intervals are of the test rows, not of seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import hydra_ray
from hydra_ray.config import load_config
from hydra_ray.metrics import mixture_log_probs, nll, scores, spearman
from hydra_ray.metrics.classification import by_label, log_odds, roc_auc
from hydra_ray.metrics.intervals import auroc_difference_interval
from hydra_ray.models import Ensemble, Member, num_parameters
from hydra_ray.randomness import seed_of
from hydra_ray.runs import Run
from hydra_ray.storage import Folder
from hydra_ray.training import Checkpoints, LabelledRows, MemberSpec, fit_member
from hydra_ray.views import apply_view

SIZES = "embedding_dim: 8, cin: [16, 16], hidden: [64, 64]"
PLAIN = ["ensemble.objective=independent", "ensemble.weight_decay=1e-4"]
NETWORKS = {
    "LR": ["ensemble.architecture=mlp", "ensemble.options={hidden: []}", *PLAIN],
    "DNN": ["ensemble.architecture=mlp", "ensemble.options={hidden: [64, 64]}", *PLAIN],
    "xDeepFM": ["ensemble.architecture=xdeepfm", f"ensemble.options={{{SIZES}}}", *PLAIN],
    "DexDeepFM, attention alone": PLAIN,
    "DexDeepFM": [],
}
COLUMNS = (
    "network", "AUC: member (sd of 5)", "ensemble", "- xDeepFM's ensemble", "student", "- its ensemble",
    "log loss: member / ensemble / student", "rho of MI", "parameters: member / student",
)  # fmt: skip


def main() -> None:
    """Print the table's lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), help="networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    words = [f"seed={arguments.seed}", f"data.max_train_rows={arguments.rows}"]
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    reference: Tensor | None = None
    # xDeepFM first: the others are compared with it
    for name in sorted(arguments.only, key=lambda each: each != "xDeepFM"):
        line, ensemble = _line(name, Run(load_config("adult_ctr", [*words, *NETWORKS[name]])), reference)
        reference = ensemble if name == "xDeepFM" else reference
        print(f"| {' | '.join(line)} |", flush=True)


def _line(name: str, run: Run, reference: Tensor | None) -> tuple[list[str], Tensor]:
    """A network's cells, and its ensemble's log-probabilities of the test rows."""
    test = run.data.splits["test"].read_all()
    labels = torch.from_numpy(test.labels)
    members = _members(run)
    ensemble = Ensemble(members)
    with torch.no_grad():
        members_NMC = ensemble(torch.from_numpy(test.inputs))
    found = mixture_log_probs(members_NMC)
    each = [members_NMC[:, number].double().log_softmax(-1) for number in range(members_NMC.shape[1])]
    student = _student(run, ensemble)
    answer = student.predict(test.inputs)
    distilled = torch.from_numpy(answer.probabilities).log()
    knowledge = scores(members_NMC)["mutual_information"]
    rho = spearman(torch.from_numpy(answer.knowledge), knowledge)
    aucs = [roc_auc(one, labels) or 0.0 for one in each]
    losses = [np.mean([nll(one, labels) for one in each]), nll(found, labels), nll(distilled, labels)]
    sizes = [num_parameters(members[0]), num_parameters(student.network)]
    return [
        name,
        f"{np.mean(aucs):.4f} ({np.std(aucs, ddof=1):.4f})",
        f"{roc_auc(found, labels):.4f}",
        "" if reference is None else _difference(found, reference, labels),
        f"{roc_auc(distilled, labels):.4f}",
        _difference(distilled, found, labels),
        " / ".join(f"{loss:.4f}" for loss in losses),
        "-" if rho is None else f"{rho:.2f}",
        " / ".join(f"{size:,}" for size in sizes),
    ], found


def _difference(own: Tensor, other: Tensor, labels: Tensor) -> str:
    """Of two areas under the curve, with its 95 % interval over rows."""
    pairs = [by_label(log_odds(each), labels) for each in (own, other)]
    low, high = auroc_difference_interval(pairs[0], pairs[1], 0, 500)
    difference = (roc_auc(own, labels) or 0.0) - (roc_auc(other, labels) or 0.0)
    return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"


def _members(run: Run) -> list[Member]:
    config = run.config
    rows, validation = (run.data.splits[name].read_all() for name in ("train", "validation"))
    assert rows.labels is not None
    of_rows = MemberSpec.of(run.task, run.member_spec(), rows.inputs, rows.labels)
    spec = of_rows.of_group(run.group_spec(0), tells_diversity=config.ensemble.own_objective is not None)
    parts = [LabelledRows.of(each, torch.device("cpu")) for each in (rows, validation)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(config.ensemble.num_members):
            checkpoints = Checkpoints(Folder.open(str(Path(folder) / str(number))), str(number), lambda line: None)
            member, _ = fit_member(
                number, config.ensemble, config.seed, spec, parts[0], parts[1], checkpoints, lambda figures: None
            )
            found.append(member.eval())
    return found


def _student(run: Run, ensemble: Ensemble) -> Any:
    """The recipe's Hydra student, of the members' answers to the views of its transfer set."""
    config = run.config
    rows = run.data.splits["train"].read_all()
    views = [
        apply_view(
            view.view.view, view.view.options, rows.inputs, rows.row_id,
            seed=seed_of(config.seed, "view", "transfer", number), features=run.features,
        )
        for number, view in run.views("transfer").items()
    ]  # fmt: skip
    inputs = np.concatenate(views)
    with torch.no_grad():
        said = torch.cat([ensemble(part) for part in torch.from_numpy(inputs).split(4096)]).numpy()
    distill = config.distill
    return hydra_ray.distill(
        inputs, said, categories=run.data.categories, body=config.ensemble.architecture,
        body_options=config.ensemble.options, seed=config.seed, epochs=distill.epochs, batch_size=distill.batch_size,
        learning_rate=distill.learning_rate,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""A report's inputs as a run would give them: eight members, students that keep a share of their disagreement.

With epochs and trials.
"""

import numpy as np
from scipy.stats import rankdata, spearmanr

from hydra_ray.config.search import Goal
from hydra_ray.data import TEST, unknown_split
from hydra_ray.metrics.row_scores import RowScores
from hydra_ray.report.inputs import ReportInputs, SearchResult
from hydra_ray.report.prediction_figures import reliability

NUM_MEMBERS, NUM_CLASSES = 8, 10
SPREADS = {"hydra": 0.8, "end2": 0.65, "proxy_end2": 0.9}


def member_logits(rng, num_rows, *, known):
    """Members agree on most known rows; on unknown ones their margins are small and they scatter."""
    ease = rng.gamma(2.5, 3.6, num_rows) if known else rng.gamma(2.0, 1.6, num_rows)
    centre = ease[:, None] * np.eye(NUM_CLASSES)[rng.integers(NUM_CLASSES, size=num_rows)]
    centre += rng.normal(0, 1, centre.shape)
    labels = (centre + 1.3 * rng.gumbel(size=centre.shape)).argmax(axis=1)
    scatter = (0.5 if known else 1.0) * rng.lognormal(0, 0.5, (num_rows, 1, 1))
    return centre[:, None] + scatter * rng.normal(0, 1, (num_rows, NUM_MEMBERS, NUM_CLASSES)), labels


def student_logits(rng, logits_NMC, name):
    """Heads that keep a share of the members' spread; `kd` is their mean alone."""
    mean = logits_NMC.mean(axis=1, keepdims=True)
    if name == "kd":
        return mean + rng.normal(0, 0.2, mean.shape)
    spread = SPREADS[name] * rng.lognormal(0, 0.25, (len(mean), 1, 1))
    return mean + spread * (logits_NMC - mean) + rng.normal(0, 0.3, mean.shape)


def row_scores(logits_NMC, labels=None):
    shifted = np.exp(logits_NMC - logits_NMC.max(axis=-1, keepdims=True))
    probs = shifted / shifted.sum(axis=-1, keepdims=True)
    mixture = probs.mean(axis=1)
    entropy, data = _entropy(mixture), _entropy(probs).mean(axis=1)
    error = None if labels is None else (mixture.argmax(axis=1) != labels).astype(float)
    spread = entropy - data if logits_NMC.shape[1] > 1 else None
    found = RowScores(total=entropy, data=data, knowledge=spread, error=error, confidence=mixture.max(axis=1))
    return found, mixture


def _entropy(probs):
    return -(probs * np.log(np.maximum(probs, 1e-300))).sum(axis=-1)


def auroc(known, unknown):
    ranks = rankdata(np.concatenate([known, unknown]))[len(known) :]
    return (ranks.sum() - len(unknown) * (len(unknown) + 1) / 2) / (len(known) * len(unknown))


def quality(scores, mixture, labels):
    nll = float(-np.log(mixture[np.arange(len(labels)), labels]).mean())
    bins = reliability(scores.confidence, 1 - scores.error)
    ece = float(np.nansum(bins.rows * np.abs(bins.accuracy - bins.confidence)) / len(labels))
    spread = None if scores.knowledge is None else float(scores.knowledge.mean())
    errors = scores.error[np.argsort(-scores.confidence)]
    aurc = float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())
    brier = float(((mixture - np.eye(NUM_CLASSES)[labels]) ** 2).sum(axis=1).mean())
    return {
        "nll": nll, "brier": brier, "accuracy": float(1 - scores.error.mean()), "ece": ece, "aurc": aurc,
        "entropy": float(scores.total.mean()), "data_uncertainty": float(scores.data.mean()),
        "mutual_information": spread,
    }  # fmt: skip


def detection(test, unknown):
    found = {"auroc_entropy": float(auroc(test.total, unknown.total)), "auroc_mutual_information": None}
    if test.knowledge is not None:
        found["auroc_mutual_information"] = float(auroc(test.knowledge, unknown.knowledge))
    return {**found, "aupr_mutual_information": None, "fpr95_mutual_information": None}


def fidelity(metrics, scores, name):
    splits = {split.label: split for split in scores["ensemble"]}
    own = {short: scores[name][split].knowledge for short, split in splits.items()}
    ensemble = {short: scores["ensemble"][split].knowledge for short, split in splits.items()}
    single = own["test"] is None
    return {
        "nll_ratio": metrics["test"][name]["nll"] / metrics["test"]["ensemble"]["nll"],
        "auroc_ratio": {
            short: None
            if single
            else found[name]["auroc_mutual_information"] / found["ensemble"]["auroc_mutual_information"]
            for short, found in metrics["unknown"].items()
        },
        "spearman_mutual_information": {
            short: None if single else float(spearmanr(own[short], ensemble[short]).statistic) for short in splits
        },
        "mutual_information_ratio": {
            short: None if single else float(own[short].mean() / ensemble[short].mean()) for short in splits
        },
        "pairwise_kl_ratio": None if single else 0.81,
        "member_agreement": 0.9713,
        "member_kl": 0.0123,
    }


def cost(students):
    member = {"num_parameters": 9_034, "macs": 8_896, "latency_ms": {"1": 0.061, "256": 0.83}}
    ensemble = {"num_parameters": 72_272, "macs": 71_168, "latency_ms": {"1": 0.41, "256": 6.31}}
    light = {"num_parameters": 12_345, "macs": 12_010, "latency_ms": {"1": 0.093, "256": 1.12}}
    return {"member": member, "ensemble": ensemble, **dict.fromkeys(students, light)}


def epoch_events(students, rng):
    events = []
    for member in range(NUM_MEMBERS):
        for epoch in range(1, 21):
            loss = 2.3 * np.exp(-0.3 * epoch) + 0.02
            losses = {"loss": loss * rng.normal(1, 0.1), "validation_nll": (loss + 0.1) * rng.normal(1, 0.06)}
            events.append({"stage": "train_ensemble", "event": "epoch", "member": member, "epoch": epoch, **losses})
    for place, student in enumerate(students):
        for epoch in range(1, 33):
            phase = "mean" if epoch <= 4 or student == "kd" else "heads"
            losses = {
                "loss": np.exp(-0.15 * epoch) + 0.05 + 0.1 * (phase == "heads"),
                "validation_nll": 0.5 * np.exp(-0.2 * epoch) + 0.085 + 0.004 * place + rng.normal(0, 0.002),
            }
            facts = {"student": student, "phase": phase, "epoch": epoch, "step": 50 * epoch}
            events.append({"stage": "distill", "event": "epoch", **facts, **losses})
    return events


def trial_rows(rng, num_trials=16):
    rows = []
    for trial in range(num_trials):
        width, rate = int(rng.choice([8, 16, 32, 64])), float(10 ** rng.uniform(-3.5, -2))
        stopped = bool(rng.random() < 0.5)
        objective = (
            0.09 + 0.3 / width + 0.02 * abs(np.log10(rate) + 2.7) + (0.05 if stopped else 0) + rng.random() / 100
        )
        rows.append({
            "trial": f"{trial:03d}", "epochs": 4 if stopped else 16, "stopped_early": stopped,
            "validation_nll": None if trial == 3 else float(objective), "head_width": width, "macs": 150 * width,
            "macs_ratio": width / 60, "on_front": False,
            "num_heads": int(rng.choice([4, 8])), "temperature": float(rng.choice([1.0, 2.0, 4.0])),
            "learning_rate": rate,
        })  # fmt: skip
    return rows


def search_result(rows):
    """The search by NLL alone."""
    best = min((row for row in rows if row["validation_nll"] is not None), key=lambda row: row["validation_nll"])
    keys = ["head_width", "num_heads", "temperature", "learning_rate"]
    return SearchResult(rows, Goal(("validation_nll",)), keys, best["trial"])


def search_of_both(rows, budget=None):
    """The search by NLL and cost."""
    goal = Goal(("validation_nll", "macs"))
    rated = [row for row in rows if row["validation_nll"] is not None]
    for row in rated:
        row["on_front"] = not any(
            other["macs"] <= row["macs"] and other["validation_nll"] < row["validation_nll"] for other in rated
        )
    within = [row for row in rated if budget is None or row["macs_ratio"] <= budget]
    taken = min(within, key=lambda row: row["validation_nll"])["trial"]
    return SearchResult(rows, goal, search_result(rows).keys, taken, budget)


def synthetic(
    unknown=("photos",), students=("hydra", "kd"), *, num_rows=400, trials=True, epochs=True, run_name="digits"
) -> ReportInputs:
    rng = np.random.default_rng(0)
    drawn = {TEST: member_logits(rng, num_rows, known=True)}
    drawn |= {unknown_split(name): (member_logits(rng, num_rows, known=False)[0], None) for name in unknown}
    metrics = {"schema": 1, "task": "classification", "num_members": NUM_MEMBERS, "test": {}}
    metrics["unknown"] = {name: {} for name in unknown}
    scores = {}
    for name in ("member", "ensemble", *students):
        made = {}
        for split, (logits, labels) in drawn.items():
            own = {"member": logits[:, :1], "ensemble": logits}.get(name)
            made[split] = row_scores(student_logits(rng, logits, name) if own is None else own, labels)
        metrics["test"][name] = quality(*made[TEST], drawn[TEST][1])
        for short in unknown:
            metrics["unknown"][short][name] = detection(made[TEST][0], made[unknown_split(short)][0])
        if name != "member":
            scores[name] = {split: rows for split, (rows, _) in made.items()}
    metrics["fidelity"] = {name: fidelity(metrics, scores, name) for name in students}
    metrics["cost"] = cost(students)
    metrics["seconds"] = {
        "train_ensemble": 31.42,
        "predict": 22.08,
        "tune": 71.3,
        "distill": 38.77,
        "evaluate": 9.1,
    }
    return ReportInputs(
        run_name=run_name,
        config={"name": run_name, "ensemble": {"num_members": NUM_MEMBERS}, "distill": {"temperature": 2.0}},
        metrics=metrics,
        scores=scores,
        epochs=epoch_events(students, rng) if epochs else [],
        searches={"hydra": search_result(trial_rows(rng))} if trials else {},
        facts={"date": "2026-01-05", "commit": "0123abc", "hardware": "2 cores, no GPU", "torch": "2.9.0"},
    )

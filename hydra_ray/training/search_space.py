"""The parameters of a trial of the search: drawn from its number and earlier trials' results by Optuna's samplers.

A random trial depends on (seed, kind, number) alone, so more trials leave those there are as they are. One of Optuna's
(TPE, Bergstra et al. 2011; of several objectives, Ozaki et al. 2022) depends on the results of the trials it is shown
too. No Ray, no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection

from hydra_ray.randomness import in_32_bits, seed_of

Sampler = Literal["random", "optuna"]


def drawn(
    space: Mapping[str, Any],
    sampler: Sampler,
    seed: int,
    kind: str,
    number: int,
    known: Sequence[tuple[Mapping[str, Any], Sequence[float]]] = (),
    num_objectives: int = 1,
) -> dict[str, Any]:
    """Parameters of a trial.

    Args:
        space: key of `distill` -> list of choices, or `{low, high, log}`; whole numbers stay whole, `high` included.
        sampler: how it is drawn.
        seed: the run's.
        kind: of the student.
        number: of the trial.
        known: parameters and badness (less is better, one number an objective) of trials before, for `optuna`.
        num_objectives: how many figures trials are compared by.
    """
    distributions = {key: _distribution(domain) for key, domain in space.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=_sampler(sampler, in_32_bits(seed_of(seed, "search", kind, number))),
        directions=[StudyDirection.MINIMIZE] * num_objectives,
    )
    for parameters, badness in known if sampler == "optuna" else ():
        if all(map(math.isfinite, badness)):
            places = {key: _place(space[key], value) for key, value in parameters.items()}
            study.add_trial(optuna.create_trial(params=places, distributions=distributions, values=badness))
    found = study.ask(distributions).params
    return {key: _value(domain, found[key]) for key, domain in space.items()}


def _sampler(sampler: Sampler, seed: int) -> BaseSampler:
    return RandomSampler(seed) if sampler == "random" else TPESampler(seed=seed)


def _distribution(domain: Any) -> BaseDistribution:
    if isinstance(domain, list):  # by their places: Optuna knows no choices but numbers and text
        return CategoricalDistribution(range(len(domain)))
    low = domain["low"]
    high = domain["high"]
    log = domain.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _place(domain: Any, value: Any) -> Any:
    return domain.index(value) if isinstance(domain, list) else value


def _value(domain: Any, place: Any) -> Any:
    return domain[place] if isinstance(domain, list) else place

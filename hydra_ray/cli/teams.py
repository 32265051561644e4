"""`teams`: which m of a run's members make the best team, found on validation rows and judged on test rows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hydra_ray.cli.terminal import show
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder, files_of

if TYPE_CHECKING:
    from hydra_ray.report.team_tables import ScoredTeams
    from hydra_ray.shards import ShardRows

_MOST = 20_000
_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --size."""
    parser.add_argument("run", metavar="RUN", help="folder of a run whose members have predicted, local or a URI")
    parser.add_argument("--size", type=int, required=True, metavar="M", help="members of a team")


def call(arguments: argparse.Namespace) -> None:
    """Score all teams, print the table, write it and the picture below the run's folder."""
    from hydra_ray.evaluation.teams import best_team, places_of
    from hydra_ray.report.tables import as_terminal, to_markdown
    from hydra_ray.report.team_figures import teams_picture
    from hydra_ray.report.team_tables import teams_table

    folder = Folder.open(arguments.run, "RUN")
    scored = scored_teams(folder, arguments.size)
    table = teams_table(scored)
    target = folder / "teams"
    target.write(f"size-{scored.size}.md", f"# {table.title}\n\n{to_markdown(table)}\n".encode())
    target.write(f"size-{scored.size}.png", teams_picture(scored))
    show(as_terminal(table))
    print(f"\n{table.title}\nresults: {target}/size-{scored.size}.md, size-{scored.size}.png")
    team = places_of(scored.teams_TM[best_team(scored.validation, "nll")])
    print(f"to distil the best by NLL: distill.members={team}")


def scored_teams(folder: Folder, size: int) -> ScoredTeams:
    """Teams of a run's members by what they predicted.

    Raises:
        UserError: there are no predictions, or they are not of classes, or not of all members; or no such teams.
    """
    import torch

    from hydra_ray.evaluation.teams import quality_of_teams, score_teams, teams_of
    from hydra_ray.report.team_tables import ScoredTeams

    validation, test = (_answers(folder / "predictions" / split) for split in ("validation", "test"))
    num_members = validation.logits_NMC.shape[1]
    if not 2 <= size < num_members:
        raise UserError(f"--size {size}: {folder} has {num_members} members; use 2 to {num_members - 1}")
    teams_TM, are_all = teams_of(num_members, size, _MOST, _SEED)
    print(f"scoring {len(teams_TM):,} teams of {size} out of {num_members} members", flush=True)
    on_test = (torch.from_numpy(test.logits_NMC), torch.from_numpy(test.labels))
    everybody = quality_of_teams(*on_test, torch.ones(1, num_members, dtype=torch.float64))
    return ScoredTeams(
        teams_TM=teams_TM,
        are_all=are_all,
        validation=score_teams(torch.from_numpy(validation.logits_NMC), torch.from_numpy(validation.labels), teams_TM),
        test=quality_of_teams(*on_test, teams_TM),
        everybody={name: value.item() for name, value in everybody.items()},
    )


def _answers(folder: Folder) -> ShardRows:
    """What members predicted of the rows that have a label."""
    from hydra_ray.shards import is_labelled, load

    rows = load(files_of(folder))
    if rows.labels.dtype.kind == "f":
        raise UserError(f"{folder}: predictions of a regression; teams are compared by the classes that members say")
    if rows.mask_NM is not None and not rows.mask_NM.all():
        raise UserError(f"{folder}: not every member has answered every row; teams need all answers")
    if not is_labelled(rows.labels).all():
        raise UserError(f"{folder}: rows without a label; teams are judged by labels")
    return rows

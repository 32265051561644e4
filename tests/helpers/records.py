"""The record of a run, as tests of it look at it."""

import json
from typing import Any

from hydra_ray.config.load import validate
from hydra_ray.config.tree import Config
from hydra_ray.storage.folder import Folder


def config(wandb: str = "off", **more: Any) -> Config:
    """Of a run with little to say but where it is logged."""
    return validate({"name": "run", "data": {"source": "digits"}, "tracking": {"wandb": wandb}, **more}, "here")


def lines(folder: Folder) -> list[dict[str, Any]]:
    """The file, read as strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in folder.read("events.jsonl").splitlines()]


def names(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What happened in which stage."""
    return [(event["stage"], event["event"]) for event in events]

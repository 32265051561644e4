"""Every published file of a finished run, damaged in every way: noticed with one line, or without effect."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, publish_student, recipe

from hydra_ray.errors import UserError
from hydra_ray.report.results import FinishedRun
from hydra_ray.runs.model_store import load_published
from hydra_ray.runs.plan import stage_state
from hydra_ray.runs.run import Run
from hydra_ray.runs.stages import STAGES
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder

SEARCHED = RECIPE + "tune: {num_trials: 2, space: {head_width: [2, 4]}}\n"
SMALL = (
    "ensemble.num_members=2",
    "data.max_train_rows=100",
    "students.hydra.num_heads=2",
    "distill.use_best_trial=true",
)
OTHERS = {  # every kind of published file, and one of the same kind from another result
    "ensemble/member-001/model.safetensors": "ensemble/member-000/model.safetensors",
    "ensemble/member-001/model.json": "ensemble/member-000/model.json",
    "predictions/transfer/part-000-00000.parquet": "predictions/test/part-000-00000.parquet",
    "predictions/transfer/manifest.json": "predictions/test/manifest.json",
    "predictions/validation/part-000-00000.parquet": "predictions/test/part-000-00000.parquet",
    "tune/hydra/best.yaml": "report/config.json",
    "tune/hydra/trials.parquet": "predictions/test/part-000-00000.parquet",
    "tune/hydra/manifest.json": "report/manifest.json",
    "students/hydra/model.safetensors": "ensemble/member-000/model.safetensors",
    "students/hydra/config.json": "ensemble/member-000/model.json",
    "report/metrics.json": "report/config.json",
    "report/config.json": "report/metrics.json",
    "report/manifest.json": "tune/hydra/manifest.json",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The recipe of a finished run, made without Ray; every test leaves it as it was."""
    path = recipe(tmp_path_factory.mktemp("finished"), SEARCHED)
    run = loaded(path, *SMALL)
    publish_members(run)
    publish_shards(run)
    search = run.search("hydra")
    search.attempt.write("best.yaml", b"distill: {head_width: 4}\n")
    search.attempt.write("trials.parquet", b"trials")
    search.publish({"trials": 2})
    publish_student(run, "hydra")
    report = loaded(path, *SMALL).report()
    report.attempt.write_json("metrics.json", {"test": {"ensemble": {"nll": 0.25}}})
    report.attempt.write_json("config.json", run.config.model_dump(mode="json"))
    report.publish({})
    return path


# damages: what they do to a file


def flip(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        place = int(share * (len(content) - 1))
        content[place] ^= 1 << random.Random(place).randrange(8)
        path.write_bytes(bytes(content))

    return damage


def content(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(make(path.read_bytes()))

    return damage


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_bytes(b"x")


def others(path: Path) -> None:
    run = path.parents[1] if path.parents[1].name == "tiny" else path.parents[2]
    shutil.copy(run / OTHERS[str(path.relative_to(run))], path)


def without_field(name: str) -> Callable[[bytes], bytes]:
    def make(text: bytes) -> bytes:
        values = json.loads(text)
        values.pop(name, None)
        return json.dumps(values).encode()

    return make


def edited(text: bytes) -> bytes:
    values = json.loads(text)
    first = next(iter(values))
    return json.dumps({**values, first: "edited"}).encode()


DAMAGES = {
    **{f"flip-{share:.3f}": flip(share) for share in (0.0, 0.001, 0.1, 0.25, 0.5, 0.77, 0.9, 0.999, 1.0)},
    "cut-1": content(lambda old: old[:-1]),
    "cut-half": content(lambda old: old[: len(old) // 2]),
    "empty": content(lambda old: b""),
    "longer": content(lambda old: old + b"\0"),
    "zeros": content(lambda old: bytes(len(old))),
    "reversed": content(lambda old: old[::-1]),
    "garbage": content(lambda old: random.Random(0).randbytes(len(old))),
    "utf-16": content(lambda old: "{}".encode("utf-16")),
    "gone": gone,
    "a folder": a_folder,
    "another's": others,
}
JSON_DAMAGES = {
    "list": content(lambda old: b"[]"),
    "null": content(lambda old: b"null"),
    "number": content(lambda old: b"3"),
    "text": content(lambda old: b'"x"'),
    "object": content(lambda old: b"{}"),
    "deep": content(lambda old: b"[" * 100_000),
    "nan": content(lambda old: b"NaN"),
    "edited": content(edited),
    **{f"no {name}": content(without_field(name)) for name in ("fingerprint", "key", "files", "checksum", "spec")},
}
CASES = [(file, damage) for file in OTHERS for damage in DAMAGES]
CASES += [(file, damage) for file in OTHERS if file.endswith(".json") for damage in JSON_DAMAGES]


def what_stages_read(run: Run, file: str) -> object:
    """What a later stage makes of the result that a file belongs to; `to do` where it takes it for not done."""
    stage = {"ensemble": "train_ensemble", "predictions": "predict", "tune": "tune", "students": "distill"}
    kind = file.split("/")[0]
    if stage_state(run, STAGES[stage.get(kind, "evaluate")]).state != "done":
        return "to do"
    if kind == "ensemble":
        return [weights(load_published(member)) for member in run.members()]
    if kind == "predictions":
        split = file.split("/")[1]
        run.require_shards(split)
        return load(run.shards(split).folder).logits_NMC.tobytes()
    if kind == "tune":
        return run.tuned("hydra").distill.head_width, run.search("hydra").read("trials.parquet")
    if kind == "students":
        return weights(load_published(run.student("hydra")))
    return FinishedRun.read(run.folder)


def weights(model) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


@pytest.fixture(scope="module")
def undamaged(finished):
    """What is read while nothing is damaged."""
    found = {file: what_stages_read(loaded(finished, *SMALL), file) for file in OTHERS}
    assert "to do" not in found.values()
    return found


@contextmanager
def restored(path: Path) -> Iterator[None]:
    before = path.read_bytes()
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(before)


@pytest.mark.parametrize(("file", "damage"), CASES)
def test_a_damaged_file_is_noticed_or_without_effect(finished, undamaged, file, damage):
    target = Path(loaded(finished, *SMALL).folder.path) / file
    with restored(target):
        (DAMAGES | JSON_DAMAGES)[damage](target)
        try:
            found = what_stages_read(loaded(finished, *SMALL), file)
        except UserError as error:
            assert_one_line_with_a_way_out(str(error), target)
        else:
            assert found in (undamaged[file], "to do")


def assert_one_line_with_a_way_out(line: str, target: Path) -> None:
    assert "\n" not in line
    assert f"{target.parent.name}" in line
    assert any(way_out in line for way_out in ("; delete ", "; remove ", "; run "))


@pytest.mark.parametrize("file", OTHERS)
def test_a_file_that_must_not_be_read_is_noticed(finished, undamaged, file, monkeypatch):
    target, read = Path(loaded(finished, *SMALL).folder.path) / file, Folder.read

    def refusing(self, name):
        if f"{self.path}/{name}" == str(target):
            raise PermissionError(13, f"Permission denied: {target}")
        return read(self, name)

    monkeypatch.setattr(Folder, "read", refusing)
    with pytest.raises(UserError, match=r"cannot be read \(.*ermission denied") as raised:
        what_stages_read(loaded(finished, *SMALL), file)
    assert_one_line_with_a_way_out(str(raised.value), target)


def folder_of(file: str) -> str:
    return file.rsplit("/", 1)[0]


@pytest.mark.parametrize("folder", sorted({folder_of(file) for file in OTHERS}))
def test_a_file_in_the_place_of_a_folder_is_noticed(finished, folder, tmp_path):
    run = loaded(finished, *SMALL)
    place = Path(run.folder.path) / folder
    place.rename(tmp_path / "aside")
    place.write_bytes(b"x")
    try:
        with pytest.raises(UserError) as raised:
            what_stages_read(loaded(finished, *SMALL), f"{folder}/x")
        assert_one_line_with_a_way_out(str(raised.value), place / "x")
    finally:
        place.unlink()
        (tmp_path / "aside").rename(place)


PAIRS = {(folder_of(file), folder_of(other)) for file, other in OTHERS.items() if folder_of(file) != folder_of(other)}


@pytest.mark.parametrize(("folder", "other"), sorted(PAIRS))
def test_the_whole_folder_of_another_result_is_not_taken_for_done(finished, undamaged, folder, other, tmp_path):
    place = Path(loaded(finished, *SMALL).folder.path) / folder
    source = place.parents[len(Path(folder).parts) - 1] / other
    place.rename(tmp_path / "aside")
    shutil.copytree(source, place)
    try:
        assert what_stages_read(loaded(finished, *SMALL), f"{folder}/x") == "to do"
    finally:
        shutil.rmtree(place)
        (tmp_path / "aside").rename(place)


def test_a_shard_beside_those_that_were_published_is_noticed(finished):
    run = loaded(finished, *SMALL)
    extra = Path(run.folder.path) / "predictions" / "validation" / "part-000-00001.parquet"
    shutil.copy(extra.with_name("part-000-00000.parquet"), extra)
    try:
        with pytest.raises(UserError, match="not one of the published files; remove it"):
            run.require_shards("validation")
    finally:
        extra.unlink()

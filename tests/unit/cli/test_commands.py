"""Names of the subcommands, `--help`, and what the shell completes."""

import shutil
import subprocess

import pytest

from hydra_ray.cli import main
from hydra_ray.cli.main import all_commands


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_names_every_command_below_its_heading(words, capsys):
    assert main(words) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    headings = {line.split()[0]: block.splitlines()[0] for block in blocks for line in block.splitlines()[1:]}
    assert {name: headings[name] for name in all_commands()} == {
        name: row.group for name, row in all_commands().items()
    }


@pytest.mark.parametrize("name", all_commands())
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: hydra-ray {name} ")
    assert all_commands()[name].help in " ".join(out.split())


@pytest.mark.parametrize("name", ["train-ensemble", "train_ensemble"])
def test_a_stage_is_called_with_a_hyphen_or_as_in_its_recipe(name, path, call, monkeypatch):
    done = []
    monkeypatch.setattr("hydra_ray.cluster.pipeline.run_stages", lambda run, names, **options: done.extend(names))
    assert call(name, path)[0] == 0
    assert done == ["train_ensemble"]


def test_plan_is_run_with_plan(path, call):
    assert call("plan", path, "ensemble.num_members=6") == call("run", path, "--plan", "ensemble.num_members=6")


def test_an_unknown_command_names_the_nearest(refused):
    assert refused("distil") == "distil: no such command; nearest: distill; `hydra-ray --help` explains them"


def test_an_unknown_shell_names_those_there_are(refused):
    assert refused("--print-completion", "dos").startswith("--print-completion dos: name one of bash, zsh")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_options_and_files(tmp_path, capsys):
    assert main(["--print-completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "recipe.yaml").touch()
    for words, expected in {"tr": "train-ensemble", "run --wa": "--wait", "plan rec": "recipe.yaml"}.items():
        typed = ["hydra-ray", *words.split()]
        script = (
            f"source ./script; COMP_WORDS=({' '.join(typed)}); COMP_CWORD={len(typed) - 1}\n"
            '$(complete -p hydra-ray | sed "s/.*-F \\([^ ]*\\).*/\\1/"); echo "${COMPREPLY[*]}"'
        )
        found = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert found.stdout.split() == [expected], found.stderr

"""A student as a graph: it says what the student says, for any batch, in every runtime, and needs nothing of ours."""

import copy
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.own_modules import own_module
from helpers.small_students import digits, image_student, plane, table_student
from helpers.untrained import untrained

import hydra_ray
from hydra_ray.errors import StageError, UserError
from hydra_ray.inference.export import export
from hydra_ray.inference.graph import StudentGraph
from hydra_ray.inference.onnx_files import write_int8, write_onnx
from hydra_ray.storage import Folder, read_checked, read_manifest

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'hydra-ray[export]'")
onnx = pytest.importorskip("onnx", reason="needs the extra: pip install 'hydra-ray[export]'")
pytest.importorskip("onnxscript", reason="needs the extra: pip install 'hydra-ray[export]'")

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

NETWORKS = {
    "mlp of images": ("mlp", (16, 16, 3), {"hidden": [20]}),
    "mlp of a table": ("mlp", (5,)),
    "cnn": ("cnn", (16, 16, 3)),
    "resnet20": ("resnet20", (16, 16, 1), {"blocks_per_stage": 1}),
    "torchvision": ("resnet18", (32, 32, 3)),
}
KINDS = {"hydra": 4, "kd": 1, "kd_temperature": 1, "end2": 1, "proxy_end2": 1}
OF_CLASSES = ["probabilities", "total", "data", "knowledge"]
OF_REGRESSION = ["mean", "std", "total", "data", "knowledge"]


def rows_of(student, number=10):
    rng = np.random.default_rng(0)
    shape = (number, *student.inputs.shape)
    if student.inputs.is_image:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.uniform(size=shape).astype(np.float32)


def asked_onnx(path, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"inputs": rows}), strict=True))


def asked_torch(path, rows):
    return {name: found.numpy() for name, found in torch.export.load(path).module()(torch.tensor(rows)).items()}


def both_files(student, folder):
    """The graph as ONNX and for torch.export, and what asks each."""
    graph = StudentGraph(student)
    program = graph.program()
    write_onnx(program, [port.name for port in graph.gives()], folder / "model.onnx")
    torch.export.save(program, folder / "model.pt2")
    return ((asked_onnx, folder / "model.onnx"), (asked_torch, folder / "model.pt2"))


def require_same(student, folder, outputs):
    """Files say what the student says, with its calibration, for batches of 1, 2, 7 and 10."""
    rows = rows_of(student)
    for ask, path in both_files(student, folder):
        for number in (1, 2, 7, 10):
            found = ask(path, rows[:number])
            expected = student.predict(rows[:number])
            assert list(found) == outputs
            for name, values in found.items():
                assert values.dtype == np.float32
                np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-5, atol=1e-5, err_msg=name)


# what it says


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_architecture_says_the_same_in_every_runtime(network, task, tmp_path):
    architecture, shape, *options = NETWORKS[network]
    student = untrained(task, architecture, shape, **dict(*options))
    require_same(student, tmp_path, OF_CLASSES if task == "classification" else OF_REGRESSION)


@pytest.mark.parametrize("network", ["cnn", "resnet20", "torchvision"])
def test_heads_with_blocks_of_their_own_say_the_same(network, tmp_path):
    architecture, shape, *options = NETWORKS[network]
    require_same(untrained("classification", architecture, shape, head="block", **dict(*options)), tmp_path, OF_CLASSES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_the_same_and_one_head_has_no_knowledge(kind, tmp_path):
    student = untrained("classification", shape=(5,), kind=kind, num_heads=KINDS[kind])
    require_same(student, tmp_path, OF_CLASSES[:3] if kind == "kd" else OF_CLASSES)


def test_one_head_of_a_regression_has_no_knowledge(tmp_path):
    student = untrained("regression", shape=(5,), kind="kd", num_heads=1)
    require_same(student, tmp_path, OF_REGRESSION[:4])


@pytest.mark.parametrize(
    ("student", "rows"), [(image_student, lambda: digits()[0]), (table_student, lambda: plane()[0])]
)
def test_calibration_is_inside(student, rows, tmp_path):
    rows = rows()[:50]
    calibrated = student().predict(rows).knowledge
    raw = student().predict(rows, calibrated=False).knowledge
    for ask, path in both_files(student(), tmp_path):
        found = ask(path, rows)["knowledge"]
        assert np.abs(found - calibrated).max() < 1e-5
        assert np.abs(found - calibrated).max() < 0.1 * np.abs(found - raw).max()


def test_digamma_which_onnx_lacks_is_exact(tmp_path):
    class Psi(torch.nn.Module):
        def forward(self, inputs):
            return {"psi": torch.digamma(inputs)}

    x = np.concatenate([np.linspace(1, 30, 200), np.logspace(1.5, 200, 50)])
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Psi(), (torch.tensor(x),), dynamic_shapes={"inputs": {0: batch}})
    write_onnx(program, ["psi"], tmp_path / "psi.onnx")
    found = asked_onnx(tmp_path / "psi.onnx", x)["psi"]
    np.testing.assert_allclose(found, torch.digamma(torch.tensor(x)).numpy(), rtol=1e-13, atol=1e-14)


def test_int8_is_of_the_body_and_keeps_the_order_of_the_disagreement(tmp_path):
    """Of the body's two layers, and of none of the heads'."""
    student = image_student()
    graph = StudentGraph(student)
    of_heads = write_onnx(graph.program(), [port.name for port in graph.gives()], tmp_path / "model.onnx")
    write_int8(tmp_path / "model.onnx", tmp_path / "model.int8.onnx", of_heads)
    nodes = [node.op_type for node in onnx.load(tmp_path / "model.int8.onnx").graph.node]
    assert nodes.count("MatMulInteger") == 2
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.7 * (tmp_path / "model.onnx").stat().st_size
    pixels = digits()[0]
    found = asked_onnx(tmp_path / "model.int8.onnx", pixels)
    expected = student.predict(pixels)
    assert 1e-5 < np.abs(found["probabilities"] - expected.probabilities).max() < 0.02
    ranks = [np.argsort(np.argsort(values)) for values in (found["knowledge"], expected.knowledge)]
    assert np.corrcoef(*ranks)[0, 1] > 0.999


# the folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The digits' student, in every format."""
    folder = tmp_path_factory.mktemp("exported")
    student = copy.copy(image_student())  # others have its card
    student.card = "# digits"
    found = export("nowhere/students/hydra", student, Folder.open(str(folder)), ["onnx", "torch"], int8=True)
    return folder, found


def test_a_folder_has_every_file_and_a_list_of_them(exported):
    folder, found = exported
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    graphs = {"onnx/model.onnx", "onnx/model.int8.onnx", "torch/model.pt2"}
    assert files == graphs | {"config.json", "thresholds.json", "README.md", "config.pbtxt"}
    about = read_manifest(Folder.open(str(folder)), "config.json")
    assert set(about["files"]) == files - {"config.json"}
    for name in about["files"]:
        read_checked(Folder.open(str(folder)), name, about["files"])
    assert about["classes"] == list(image_student().classes)
    assert about["calibration"] == image_student().calibration.to_json()
    assert about["export"]["inputs"] == [{"name": "inputs", "dtype": "uint8", "shape": ["batch", 8, 8, 1]}]
    assert [each["name"] for each in about["export"]["outputs"]] == OF_CLASSES
    thresholds = json.loads((folder / "thresholds.json").read_text())
    assert thresholds == image_student().thresholds.to_json()
    assert [each.name for each in found.files] == [None, "onnx/model.onnx", "onnx/model.int8.onnx", "torch/model.pt2"]


def test_what_is_measured_is_of_the_files(exported):
    _, found = exported
    by_name = {each.name: each for each in found.files}
    assert found.rows == "1,000 random rows"
    for name in (None, "onnx/model.onnx", "torch/model.pt2"):
        assert max(by_name[name].comparison.differences.values()) < 1e-5
        assert by_name[name].comparison.rank_correlation > 0.99999
    assert by_name["onnx/model.int8.onnx"].comparison.differences["probabilities"] > 1e-5
    for each in found.files:
        assert set(each.milliseconds) == {1, 256}
        assert min(each.milliseconds.values()) > 0


def test_triton_is_told_what_the_model_has(exported):
    """Names, types and dimensions; one number a row is a vector of one there, with a shape of none in the model."""
    folder, _ = exported
    text = (folder / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    types = {"TYPE_UINT8": "tensor(uint8)", "TYPE_FP32": "tensor(float)"}
    ports = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ ([\d, ]+) \]( reshape { shape: \[ \] })?', text)
    told = {}
    for name, dtype, dims, is_scalar in ports:
        told[name] = (types[dtype], [] if is_scalar else [int(size) for size in dims.split(",")])
    has = {each.name: (each.type, each.shape[1:]) for each in (*session.get_inputs(), *session.get_outputs())}
    assert told == has
    assert all(each.shape[0] == "batch" for each in (*session.get_inputs(), *session.get_outputs()))
    assert "dynamic_batching { }" in text


def run_without_us(code, folder):
    blocked = "import sys; sys.modules['hydra_ray'] = None\n"
    words = [sys.executable, "-I", "-"]
    done = subprocess.run(words, input=blocked + code, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cards_code_abstains_without_us(exported):
    """numpy and onnxruntime alone."""
    folder, _ = exported
    card = (folder / "README.md").read_text()
    assert card.startswith("# digits\n\n## Exported")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    pixels = digits()[0][:300]
    np.save(folder.parent / "pixels.npy", pixels)
    code = re.sub(r"^rows = .*$", f"rows = np.load({str(folder.parent / 'pixels.npy')!r})", code, flags=re.MULTILINE)
    printed = run_without_us(code + "print('ABSTAIN', abstain.astype(int).tolist(), 'torch' in sys.modules)", folder)
    abstain, has_torch = re.search(r"ABSTAIN (\[.*\]) (\w+)", printed).groups()
    answer = image_student().predict(pixels)
    threshold = image_student().thresholds.at_risk(0.05, "total")
    is_clear = np.abs(answer.total - threshold) > 1e-5  # a row that the threshold was fitted to lies on it
    assert is_clear.sum() > 290
    assert (np.array(json.loads(abstain)) == answer.abstain)[is_clear].all()
    assert has_torch == "False"


def test_a_program_is_loaded_without_us(exported):
    folder, _ = exported
    code = (
        "import torch\n"
        "found = torch.export.load('torch/model.pt2').module()(torch.zeros(3, 8, 8, 1, dtype=torch.uint8))\n"
        "print([(name, list(values.shape), values.requires_grad) for name, values in found.items()])"
    )
    shapes = [[3, 10], [3], [3], [3]]
    assert run_without_us(code, folder).strip() == str(
        [(name, shape, False) for name, shape in zip(OF_CLASSES, shapes, strict=True)]
    )


def test_files_say_nothing_of_this_machine(exported):
    folder, _ = exported
    for path in folder.rglob("model*"):
        assert b"site-packages" not in path.read_bytes(), path
        assert b"/hydra_ray/" not in path.read_bytes(), path


def test_an_exported_folder_is_no_students(exported):
    folder, _ = exported
    with pytest.raises(UserError, match=f"{folder}: holds an exported student.* nowhere/students/hydra"):
        hydra_ray.load_student(folder)


def test_a_former_export_is_replaced_and_an_unfinished_one_too(tmp_path):
    student = untrained("regression", shape=(5,))
    target = Folder.open(str(tmp_path))
    (tmp_path / "config.json").write_text('{"export": "unfinished"}')
    export("x", student, target, ["onnx", "torch"])
    assert (tmp_path / "config.pbtxt").exists()
    export("x", student, target, ["torch"])
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "README.md", "torch"}
    assert "torch.export.load" in (tmp_path / "README.md").read_text()
    run_without_us(re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)[0], tmp_path)


# what cannot be exported


OWN = """
import torch
from torch import nn
from hydra_ray.models import Network

class Odd(nn.Module):
    def forward(self, x):
        {body}

def net(input_shape, num_outputs):
    return Network(nn.Sequential(Odd(), nn.Linear(input_shape[0], 8)), nn.Linear(8, num_outputs), 8)
"""
BODIES = {
    "a branch on values": ("return x if x.sum() > 0 else -x", UserError, "torch.export cannot follow this network"),
    "a branch on the number of rows": (
        "return x if len(x) < 5 else -x",
        UserError,
        "torch.export cannot follow this network",
    ),
    "numbers drawn": ("return x + torch.randn_like(x)", StageError, "differs from the student's by"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_network_that_a_graph_does_not_keep_is_refused_and_nothing_is_written(case, tmp_path, monkeypatch):
    body, kind, said = BODIES[case]
    with own_module(tmp_path, monkeypatch, lambda: None) as write:
        name = write(OWN.format(body=body))
        student = untrained("classification", f"{name}:net", (5,))
        with pytest.raises(kind, match=said) as raised:
            export("x", student, Folder.open(str(tmp_path / "exported")), ["torch"])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "exported").exists()

"""Networks: members, the student and its heads, their outputs, their files and what they cost.

How they are trained is in `training/`.
"""

from hydra_ray.models.architectures import GlobalMean
from hydra_ray.models.click_architectures import DiverseNetwork
from hydra_ray.models.cost import count_macs, latency_ms, num_parameters
from hydra_ray.models.embeddings import table_inputs
from hydra_ray.models.ensemble import Ensemble, StackedMembers
from hydra_ray.models.files import WEIGHTS, from_model_json, load_model, to_model_json, to_safetensors_bytes
from hydra_ray.models.input_check import check_inputs, check_values
from hydra_ray.models.members import Member, ModelSpec, Normalise, build_member
from hydra_ray.models.networks import architecture_options, check_architecture
from hydra_ray.models.outputs import GaussianOutput, MeanOutput, OutputKind
from hydra_ray.models.own_code import code_of
from hydra_ray.models.pretrained import Pretrained, load_pretrained, put_body, weights_key
from hydra_ray.models.registry import Network
from hydra_ray.models.size import check_size, count_weights, in_gigabytes, memory_bytes
from hydra_ray.models.student import HydraStudent, body_and_heads, build_student, suited_head
from hydra_ray.models.tensors import to_device, to_safetensors

__all__ = [
    "WEIGHTS",
    "DiverseNetwork",
    "Ensemble",
    "GaussianOutput",
    "GlobalMean",
    "HydraStudent",
    "MeanOutput",
    "Member",
    "ModelSpec",
    "Network",
    "Normalise",
    "OutputKind",
    "Pretrained",
    "StackedMembers",
    "architecture_options",
    "body_and_heads",
    "build_member",
    "build_student",
    "check_architecture",
    "check_inputs",
    "check_size",
    "check_values",
    "code_of",
    "count_macs",
    "count_weights",
    "from_model_json",
    "in_gigabytes",
    "latency_ms",
    "load_model",
    "load_pretrained",
    "memory_bytes",
    "num_parameters",
    "put_body",
    "suited_head",
    "table_inputs",
    "to_device",
    "to_model_json",
    "to_safetensors",
    "to_safetensors_bytes",
    "weights_key",
]

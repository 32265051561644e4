"""A student at work: loaded, asked about rows as people have them, with rules for when not to trust it; no Ray.

Training is below; applying it to many rows and serving it are Ray's, in `cluster/`.
"""

from hydra_ray.inference.answer_files import AnswerFolder, Totals, Unread, answered, key_of, write_answers
from hydra_ray.inference.answering import answering_of
from hydra_ray.inference.inputs import batches_of
from hydra_ray.inference.opening import open_row_files
from hydra_ray.inference.prediction import ClassPrediction, Prediction, RegressionPrediction, to_lists
from hydra_ray.inference.row_files import Part, Reader, RowFiles
from hydra_ray.inference.student import CARD, CONFIG, THRESHOLDS, Student, load_student
from hydra_ray.inference.thresholds import Thresholds

__all__ = [
    "CARD",
    "CONFIG",
    "THRESHOLDS",
    "AnswerFolder",
    "ClassPrediction",
    "Part",
    "Prediction",
    "Reader",
    "RegressionPrediction",
    "RowFiles",
    "Student",
    "Thresholds",
    "Totals",
    "Unread",
    "answered",
    "answering_of",
    "batches_of",
    "key_of",
    "load_student",
    "open_row_files",
    "to_lists",
    "write_answers",
]

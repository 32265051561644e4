"""The finished student: loaded or made from arrays, asked about rows as people have them, with rules when to trust it.

No Ray: applying it to many rows and serving it are in `cluster/`. The loop that trains it is in `training/`.
"""

from hydra_ray.inference.answer_files import AnswerFolder, Totals, Unread, answered, key_of, write_answers
from hydra_ray.inference.answering import answering_of
from hydra_ray.inference.inputs import batches_of
from hydra_ray.inference.opening import open_row_files
from hydra_ray.inference.prediction import ClassPrediction, Prediction, RegressionPrediction, to_rows
from hydra_ray.inference.requests import rows_of_request
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
    "rows_of_request",
    "to_rows",
    "write_answers",
]

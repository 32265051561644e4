"""The report: figures and rows' scores in, tables, pictures and pages out.

Runs no network and reads no file.
"""

from hydra_ray.report.attack_tables import robust_accuracy_table
from hydra_ray.report.card import student_card
from hydra_ray.report.files import make_report
from hydra_ray.report.inputs import ReportInputs, SearchResult
from hydra_ray.report.results import FinishedRun, results_page
from hydra_ray.report.study_tables import study_files, study_table, verdict_lines, verdict_table
from hydra_ray.report.sweep_figures import sweep_picture
from hydra_ray.report.sweep_tables import sweep_files, sweep_table
from hydra_ray.report.tables import TextTable, as_terminal, terminal_table

__all__ = [
    "FinishedRun",
    "ReportInputs",
    "SearchResult",
    "TextTable",
    "as_terminal",
    "make_report",
    "results_page",
    "robust_accuracy_table",
    "student_card",
    "study_files",
    "study_table",
    "sweep_files",
    "sweep_picture",
    "sweep_table",
    "terminal_table",
    "verdict_lines",
    "verdict_table",
]

"""`hydra-ray serve STUDENT`: a finished student behind HTTP."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STUDENT, --port, --host, --replicas."""
    parser.add_argument("student", metavar="STUDENT", help="folder of a student, e.g. runs/digits/students/hydra")
    parser.add_argument("--port", type=int, default=8000, help="to listen on (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; only this machine unless told")
    parser.add_argument("--replicas", type=int, help="processes with the student; one a GPU or CPU unless told")


def call(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from hydra_ray.cluster.serve import serve_student

    serve_student(arguments.student, host=arguments.host, port=arguments.port, replicas=arguments.replicas)

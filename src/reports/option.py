"""`--report` of the evaluation scripts; nothing is imported until the page is written."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def evaluation_report(args: argparse.Namespace) -> Iterator[None]:
    """Write the page of the evaluation that is run within, if `--report` asks for it.

    The pictures go into `<out_dir>/pictures` where `--show_dir` names no other folder. Under
    torchrun the first process writes the page.
    """
    if args.report and not args.show_dir:
        args.show_dir = str(Path(args.out_dir) / "pictures")
    yield
    if args.report and os.environ.get("RANK", "0") == "0":
        from reports.evaluation_report import write_evaluation_report

        print(f"report: {write_evaluation_report(Path(args.out_dir), Path(args.show_dir))}")

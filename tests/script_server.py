"""Scripts run in forks of one process that has loaded the libraries: 4 seconds less for each.

Started as a script, this file is that process. It reads a job a line from stdin and answers each
with the exit code; a fork's threads are its own, since this process computes nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


class ScriptServer:
    """Runs scripts of src/ one after another, from the repository's root, on the CPU."""

    def __init__(self, folder: Path):
        """Start it; the outputs of scripts are kept in this folder for a moment."""
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )

    def run(self, script: str, *args: str) -> subprocess.CompletedProcess:
        """As `subprocess.run` would return it."""
        outputs = [self._folder / name for name in ("stdout.txt", "stderr.txt")]
        job = {"script": script, "args": args, "outputs": list(map(str, outputs))}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") for path in outputs)
        return subprocess.CompletedProcess([script, *args], code, stdout, stderr)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    """Run the jobs that come in until there are no more."""
    sys.path[:0] = [str(ROOT / "src"), str(TESTS)]
    from fuzzing.harness import run_copy, script
    from fuzzing.run import import_libraries

    import_libraries()
    for line in sys.stdin:
        job = json.loads(line)
        stdout, stderr = map(Path, job["outputs"])
        action = script(ROOT / "src" / job["script"], job["args"])
        print(run_copy(action, stderr, stdout=stdout).code, flush=True)


if __name__ == "__main__":
    serve()

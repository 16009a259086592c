"""Kill scripts at random moments, go on, and compare with what an undisturbed run writes.

    python tests/fuzzing/kills.py --kills 20

Each job is run once undisturbed. Then it is started again and again, killed (SIGKILL) after a
random time each, until it has ended by itself; what it has written has to be the same, and nothing
half-written may be left. That is repeated until there were so many kills for each job.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parents[2] / "src")]
os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the threads that its parent had
os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclass(frozen=True)
class Job:
    """Something that may be killed and started again.

    Attributes:
        name: for the report.
        start: what to do, writing into a folder.
        result: what of the folder has to be the same in the end.
    """

    name: str
    start: Callable[[Path], Callable[[], object]]
    result: Callable[[Path], object]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kills", type=int, default=3, help="of each job (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--only", default="", help="only jobs whose name holds this")
    add("--work", help="folder to work in (default: a temporary one)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    from fuzzing.run import import_libraries
    from fuzzing.sources import write_sources

    import_libraries()
    work = Path(args.work or tempfile.mkdtemp(prefix="kills-"))
    sources = write_sources(work / "sources")
    write_images(sources / "many", 6)
    wrong = 0
    with served(write_download(work / "served")) as address:
        for job in jobs(sources, address):
            if args.only in job.name:
                print(f"{job.name:12}", end=" ", flush=True)
                problem = torment(job, work / job.name, args.kills, random.Random(args.seed))
                wrong += problem is not None
                print(problem or "the same in the end, nothing half-written", flush=True)
    return int(wrong > 0)


def torment(job: Job, folder: Path, kills: int, rng: random.Random) -> str | None:
    """Compare an undisturbed run with killed ones; returns what is wrong, or None."""
    from fuzzing.harness import run_copy

    folder.mkdir()
    start = time.perf_counter()
    outcome = run_copy(job.start(folder / "whole"), folder / "whole.txt")
    seconds = time.perf_counter() - start
    if outcome.code:
        return f"fails undisturbed: {outcome.stderr.strip().splitlines()[-1:]}"
    expected = job.result(folder / "whole")
    done = rounds = 0
    while done < kills:
        out = folder / f"killed{rounds}"
        rounds += 1
        while True:
            delay = rng.uniform(0, seconds) if done < kills else None
            log = folder / f"{out.name}_{done}.txt"
            outcome = run_copy(job.start(out), log, delay)
            if outcome.code == -signal.SIGKILL:
                done += 1
                continue
            if outcome.code:
                return f"fails after a kill: {outcome.stderr.strip().splitlines()[-1:]}"
            break
        if job.result(out) != expected:
            return f"another result after {done} kills, see {out}"
        left = [path for path in out.rglob(".*") if path.is_file()]
        if left:
            return f"left half-written: {left}"
    print(f"{done} kills in {rounds} round(s) of {seconds:.1f} s:", end=" ")
    return None


def jobs(sources: Path, address: str) -> list[Job]:
    """What is to survive its end."""
    from fuzzing.harness import script
    from fuzzing.targets import TRAINING
    from helpers import ROOT

    data = f"--image_dir {sources}/data/images --annotation_dir {sources}/data/annotations"
    model = f"--weights {sources}/model.pth --device cpu"
    training = f"train_cis.py {data} {TRAINING.replace('--max_iters 2', '--max_iters 12')} "
    training += "--eval_interval 3 --resume auto --out_dir OUT"
    infer = f"infer_cis.py --image {sources}/many {model} --save labels csv coco --skip_existing "
    prepare = f"prepare_for_2nd_level_model.py {data} {model} --resume --out_dir OUT"
    pseudo = f"make_pseudo_labels.py --image_dir {sources}/data/images/new.png {model} "
    pseudo += f"--annotation_dir {sources}/data/annotations --out_dir OUT "
    pseudo += f"--train_image_dir {sources}/data/images --least_cells 1 --least_score default=0"

    def of_script(command: str) -> Callable[[Path], Callable[[], object]]:
        def start(out: Path) -> Callable[[], object]:
            name, *words = command.replace("OUT", str(out)).split()
            return script(ROOT / "src" / name, words)

        return start

    return [
        Job("training", of_script(training), training_state),
        Job("inference", of_script(f"{infer} --out_dir OUT"), partial(files, suffixes=IMAGES)),
        Job("predictions", of_script(prepare), partial(files, suffixes=(".pkl",))),
        Job("pseudo", of_script(pseudo), annotations),
        Job("download", partial(download, address), partial(files, suffixes=(".zip", ".json"))),
    ]


IMAGES = (".png", ".tif", ".csv")


def files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of the outputs; summaries of a run name its time and are left out."""
    from utils.files import sha256

    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in suffixes and not path.name.startswith(("summary", "run", "."))
    }


def training_state(folder: Path) -> dict[str, object]:
    """Every number of the last checkpoint as text: weights, their average, the optimizer."""
    import torch

    checkpoint = torch.load(folder / "latest.pth", weights_only=True)
    assert checkpoint["meta"]["iter"] == 12
    tensors = {
        (part, name): value.tolist()
        for part in ("state_dict", "weights")
        for name, value in checkpoint[part].items()
    }
    for number, moments in checkpoint["optimizer"]["state"].items():
        tensors |= {(number, name): value.tolist() for name, value in moments.items()}
    return tensors


def annotations(folder: Path) -> dict[str, dict]:
    """The annotation files but for what they say of the run."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        found[path.name] = json.loads(path.read_text())
        found[path.name].pop("info", None)
    return found


def write_images(folder: Path, count: int) -> None:
    """Images in which an untrained model finds something."""
    import cv2
    import numpy as np

    folder.mkdir()
    for i in range(count):
        image = np.random.default_rng(i).integers(0, 256, (64, 80), np.uint8)
        (folder / f"{i}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())


def write_download(folder: Path) -> Path:
    """A folder to be served, with an archive of 3 MB that cannot be compressed."""
    import zipfile

    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("train/a.bin", random.Random(0).randbytes(3_000_000))
    return folder


class SlowHandler(SimpleHTTPRequestHandler):
    """Serves a folder a piece at a time, so that a kill finds a download unfinished."""

    def copyfile(self, source, outputfile) -> None:
        while piece := source.read(2**17):
            outputfile.write(piece)
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the other side was killed
            pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on any free port of this machine, from a process of its own."""
    handler = partial(SlowHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    child = os.fork()
    if not child:
        server.serve_forever()
    yield f"http://127.0.0.1:{server.server_port}"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def download(address: str, out: Path) -> Callable[[], None]:
    """What the download scripts do with one file."""

    def action() -> None:
        from published.downloads import Download, obtain_all

        args = argparse.Namespace(mirror=address, root=str(out))
        failed = obtain_all([Download("a.zip", ())], "downloads.json", lambda *_: None, args)
        raise SystemExit(len(failed))

    return action


if __name__ == "__main__":
    sys.exit(main(parse_args()))

"""What every script starts with: errors for the user, its exit code, libraries kept quiet.

Imports the standard library only: check_install.py runs before anything is installed.
"""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

MAX_LISTED = 50  # problems listed one by one; the rest is only counted


# What the system says of folders and disks; a file that is missing is another matter.
OF_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
)


class InputError(Exception):
    """Bad input from the user.

    Args:
        message: one line that names the file or flag and the remedy.
        details: the single problems, where a report lists several; printed above the message. The
            first 50 are kept, and a line that counts the rest.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self.details = _shortened(details)


def run_script(
    main: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    leave_at_once: bool = False,
) -> NoReturn:
    """Run `main(args)` and exit with what it returns (None is 0), or with 2 for an `InputError`.

    Args:
        main: the script.
        args: its options.
        leave_at_once: end the process without taking down what it loaded, which takes a second;
            for scripts that leave nothing to be flushed or joined but their own output.
    """
    try:
        code = main(args) or 0
    except InputError as error:
        traceback.clear_frames(error.__traceback__)  # ends progress bars, which share the line
        print_error(error)
        code = 2
    except BrokenPipeError:  # whoever read the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if error.errno not in OF_PLACES:
            raise
        remedy = "check the disk, the folder and its permissions"
        print_error(InputError(f"{error.filename or 'a file'}: {error.strerror}; {remedy}"))
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    if leave_at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def print_error(error: InputError) -> None:
    """Print the error to stderr, its details first."""
    for line in (*error.details, f"error: {error}"):
        print(line, file=sys.stderr)


def one_line(error: BaseException, path: object, hint: str = "") -> str:
    """Why work on a file failed.

    Args:
        error: an `InputError` explains itself; of others the kind is named.
        path: the file, which stands in front unless the error names it.
        hint: follows what is not an `InputError`.
    """
    if isinstance(error, InputError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}{hint}"
    return text if str(path) in text else f"{path}: {text}"


def report_problems(
    source: str, problems: Sequence[str], skip_invalid: bool, noun: str = "record"
) -> None:
    """Print what is wrong with single records of a file that are left out, or refuse the file.

    Args:
        source: the file, or its flag and the file.
        problems: one line each; nothing happens without any.
        skip_invalid: print them instead of raising.
        noun: what a record of the file is called.

    Raises:
        InputError: there are problems (in `details`) and `skip_invalid` is False.
    """
    if not problems:
        return
    summary = f"{source}: {len(problems)} invalid {noun}(s)"
    if not skip_invalid:
        raise InputError(f"{summary}, listed above; fix them or pass --skip_invalid", problems)
    print("\n".join([*_shortened(problems), f"{summary} left out"]))


def _shortened(problems: Sequence[str]) -> list[str]:
    rest = len(problems) - MAX_LISTED
    return [*problems[:MAX_LISTED], *([f"... and {rest} more"] if rest > 0 else [])]


def quiet_libraries() -> None:
    """Hide what the pinned libraries print at import and no user can act on; call before them.

    Also sets the folder where `--compile` keeps its results: where torch would put them, they are
    gone after a restart. It has to be known before torchvision is imported.
    """
    with suppress(RuntimeError):  # a user of a container may have no home
        cache = Path.home() / ".cache" / "cell_instance_segmentation"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="invalid escape sequence")  # mmdet on Python 3.12
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # of damaged images: readers raise errors, which are reported in one line each
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")


@contextmanager
def quick_start() -> Iterator[None]:
    """Import libraries and load models without garbage collection, which takes a second of it.

    What was loaded stays to the end anyway; later collections do not look at it again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

"""The process that runs checks for `mae.exercises.worker`."""

import contextlib
import io
import os
import pickle
import sys

import torch

from mae.exercises.engine import Verdict, judge
from mae.exercises.worker import receive, send

MEMORY = 2 * 2**30  # bytes that a check may take on top of what the process has after its imports


def _limit_memory() -> None:
    try:
        import resource

        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    except (ImportError, OSError, ValueError):
        pass  # not on Linux: what the check asks for, it gets; the kernel is another process


def main() -> None:
    """Answer questions until the other side is gone."""
    questions, verdicts = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what C code prints must not come between the messages
    torch.optim.SGD([torch.zeros(1)])  # the first optimiser in a process takes a second to import
    _limit_memory()
    send(verdicts, b"ready")
    while (question := receive(questions)) is not None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                verdict = judge(*pickle.loads(question))
            except MemoryError:
                verdict = Verdict("crashed", "Your code asked for more memory than a check may take.")
            except BaseException as error:
                verdict = Verdict("crashed", f"{type(error).__name__}: {error}")
        verdict.printed = printed.getvalue()[:2000]
        send(verdicts, pickle.dumps(verdict))


if __name__ == "__main__":
    main()

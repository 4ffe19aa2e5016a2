"""Checks run in a process of their own: an endless loop, a huge allocation or a crash can't take the kernel along.

The process (``python -m mae.exercises``, in `__main__`) starts with the first check and stays, so that later ones are
quick. Both sides write a message as its length and its bytes.
"""

import atexit
import os
import pickle
import struct
import subprocess
import sys
import threading

import cloudpickle

from mae.exercises.engine import Verdict

SECONDS = 8  # for one check


class Worker:
    """The process that runs checks; started again if it had to be stopped."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        atexit.register(self.stop)

    def start(self) -> None:
        """Start the process, without waiting for its imports."""
        if self.process is None or self.process.poll() is not None:
            path = os.pathsep.join(filter(None, sys.path))
            command = [sys.executable, "-m", "mae.exercises"]
            environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            self.ready = False

    def stop(self) -> None:
        """Stop the process, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def judge(self, id: str, answer: object, seed: int, seconds: float = SECONDS) -> Verdict:
        """Run one check in the process.

        Parameters
        ----------
        id : str
        answer : object
        seed : int
        seconds : float
            After this time the process is stopped.

        Returns
        -------
        Verdict
        """
        try:
            question = cloudpickle.dumps((id, answer, seed))
        except Exception as error:
            reason = f"Your answer can't be handed to the checker ({type(error).__name__}: {error})."
            return Verdict("wrong", f"{reason} Does it hold a file, a generator or a lock?")
        self.start()
        if not self.ready:
            self.ready = receive(self.process.stdout) == b"ready"
            if not self.ready:
                self.stop()
                raise RuntimeError("the process that runs checks did not start: is the package `mae` installed?")
        late = threading.Event()

        def give_up():
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            send(self.process.stdin, question)
            reply = receive(self.process.stdout)
        except OSError:
            reply = None
        except BaseException:  # interrupted: the reply, when it comes, must not be read as the next check's
            self.stop()
            raise
        finally:
            timer.cancel()
        if reply is not None:
            return pickle.loads(reply)
        self.stop()
        if late.is_set():
            text = f"Your code ran for {seconds:g} s without an end and was stopped. Is there a loop that never stops?"
        else:
            text = "Your code took its process down, most likely by asking for more memory than there is."
        return Verdict("crashed", text)


def send(stream, message: bytes) -> None:
    """Write one message behind its length.

    Parameters
    ----------
    stream : binary file
    message : bytes
    """
    stream.write(struct.pack("<Q", len(message)) + message)
    stream.flush()


def receive(stream) -> bytes | None:
    """Read one message; None if the other side is gone.

    Parameters
    ----------
    stream : binary file
    """
    head = stream.read(8)
    if len(head) < 8:
        return None
    length = struct.unpack("<Q", head)[0]
    message = stream.read(length)
    return message if len(message) == length else None

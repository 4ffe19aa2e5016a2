"""Real processes that run ``python -m mae``, started in milliseconds: a server has imported all, and forks."""

import json
import os
import socket
import subprocess
import sys

SERVER = """
import json, os, resource, sys
import mae.__main__
import mae.evaluate
import torch._dynamo
import torch.distributed.fsdp

for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        _, status = os.waitpid(request["wait"], 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        os.environ.update(request["environment"])
        file = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if request["largest"]:  # bytes in a file: what a full disk does to a write
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
        try:
            code = mae.__main__.main(request["arguments"])
            sys.stdout.flush()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
"""


class Server:
    """Forks processes for ``python -m mae``; used as a context."""

    def __enter__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], env=environment, **pipe)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, arguments, output, largest=0, **environment):
        """Start a process whose output is appended to a file; return its number."""
        arguments = [str(a) for a in arguments]
        return self._ask(arguments=arguments, output=str(output), largest=largest, environment=environment)

    def wait(self, pid):
        """Wait for a process to end; return its exit code, or minus the signal that killed it."""
        return self._ask(wait=pid)

    def run(self, arguments, output, **kwargs):
        """Start a process and wait for it."""
        return self.wait(self.start(arguments, output, **kwargs))

    def start_all(self, size, arguments, output):
        """Start processes that train together, as torchrun does; return their numbers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return [
            self.start(arguments, f"{output}{rank}", RANK=str(rank), LOCAL_RANK=str(rank), **common)
            for rank in range(size)
        ]

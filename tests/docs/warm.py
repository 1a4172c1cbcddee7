"""A command ``astroclip`` that is quick to start, for the many commands of the pages.

It does what the installed one does, in a process of its own that is forked from one that has
imported torch and others already.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

_CLIENT = """\
#!{python} -SE
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([os.getcwd(), dict(os.environ), sys.argv]).encode()
    socket.send_fds(server, [len(asked).to_bytes(4) + asked], [0, 1, 2])
    sys.exit(int.from_bytes(server.recv(1)))
"""


@contextmanager
def warm_command(path):
    """Put the command at a path, for as long as the context lasts."""
    address = f"{path}.socket"
    path.write_text(_CLIENT.format(python=sys.executable, address=address))
    path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        command = [sys.executable, __file__, str(listening.fileno())]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        server = subprocess.Popen(command, pass_fds=[listening.fileno()], env=environ)
    try:
        yield path
    finally:
        server.terminate()
        server.wait()


def _serve(listening):
    import pandas as pd  # noqa: F401
    import sklearn.pipeline  # noqa: F401
    import specutils  # noqa: F401
    import torch  # noqa: F401

    import astroclip_astro.api
    import astroclip_astro.tasks  # noqa: F401
    from astroclip_astro.cli.main import main

    # The recipe of mocks takes those of the package where it cannot simulate any, for minutes.
    sys.modules["bagpipes"] = None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        asking, _ = listening.accept()
        if os.fork():
            asking.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        message, streams, _, _ = socket.recv_fds(asking, 1 << 16, 3)
        while len(message) < 4 + int.from_bytes(message[:4]):
            message += asking.recv(1 << 16)
        folder, environ, sys.argv = json.loads(message[4:])
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:0] = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
        code = 1
        try:
            main(prog_name="astroclip")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else end.code is not None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            asking.send(bytes([code]))
            os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

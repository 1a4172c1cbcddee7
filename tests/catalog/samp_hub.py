"""SAMP as programs speak it: a real hub of this computer only, and clients that receive tables."""

import time
from contextlib import contextmanager

import pytest
from astropy.table import Table


@contextmanager
def samp_hub(folder):
    """A hub where clients look for it."""
    from pyvo import samp

    lockfile = folder / "samp-hub"
    with pytest.MonkeyPatch.context() as patch, samp.conf.set_temp("use_internet", False):
        patch.setenv("SAMP_HUB", lockfile.as_uri().replace("file:", "std-lockurl:file:"))
        hub = samp.SAMPHubServer(addr="127.0.0.1", web_profile=False, lockfile=str(lockfile))
        hub.start()
        try:
            yield hub
        finally:
            hub.stop()


@contextmanager
def samp_program(name, answer="samp.ok", mtype="table.load.votable"):
    """A program that reads tables, or answers something else; gives what it has received."""
    from pyvo import samp

    received = []

    def load(private_key, sender_id, msg_id, mtype, params, extra):
        table = Table.read(params["url"].removeprefix("file://"), format="votable")
        received.append((params, table))
        error = {"samp.errortxt": "out of memory"} if answer == "samp.error" else None
        # pyvo's hub loses an answer that comes before it has noted the question.
        time.sleep(0.1)
        client.ereply(msg_id, answer, result={}, error=error)

    client = samp.SAMPIntegratedClient(name=name, addr="127.0.0.1")
    client.connect()
    client.bind_receive_call(mtype, load)
    try:
        yield received
    finally:
        client.disconnect()

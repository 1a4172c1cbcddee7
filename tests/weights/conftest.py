"""A local server that plays Hugging Face's hub."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the server serves, and how it misbehaves.

    `fault` is None, "wrong hash", "truncated", "not found", "gated" or "two files".
    """

    def __init__(self, content, fault=None):
        self.content = content
        self.fault = fault
        self.requests = []

    @property
    def sha256(self):
        content = b"another file" if self.fault == "wrong hash" else self.content
        return hashlib.sha256(content).hexdigest()

    def listing(self):
        names = ["model.ckpt", "other.ckpt"] if self.fault == "two files" else ["model.ckpt"]
        lfs = {"sha256": self.sha256, "size": len(self.content), "pointerSize": 134}
        files = [
            {"rfilename": n, "blobId": "b" * 40, "size": len(self.content), "lfs": lfs}
            for n in names
        ]
        return {
            "_id": "1",
            "id": "me/model",
            "modelId": "me/model",
            "sha": COMMIT,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": "README.md", "blobId": "c" * 40, "size": 3}, *files],
        }


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Function that starts a hub, and makes it the one that is asked."""
    servers = []

    def serve(hub):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.requests.append((self.command, self.path))
                if hub.fault in ("not found", "gated"):
                    body = b"{}"
                    self.send_response(404 if hub.fault == "not found" else 401)
                elif self.path.startswith("/api/models/me/model"):
                    body = json.dumps(hub.listing()).encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                elif "/resolve/" in self.path:
                    body = hub.content
                    self.send_response(200)
                    self.send_header("ETag", f'"{hub.sha256}"')
                    self.send_header("X-Linked-Etag", f'"{hub.sha256}"')
                    self.send_header("X-Linked-Size", str(len(body)))
                    self.send_header("X-Repo-Commit", COMMIT)
                else:
                    body = b""
                    self.send_response(404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    cut = hub.fault == "truncated" and "/resolve/" in self.path
                    self.wfile.write(body[: len(body) // 2] if cut else body)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        point_to(f"http://127.0.0.1:{server.server_port}")
        return server

    def point_to(endpoint):
        # The hub's library reads its environment once, when it is imported.
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("ASTROCLIP_CACHE", str(tmp_path / "cache"))
    serve.point_to = point_to
    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()

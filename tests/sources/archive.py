"""A local server that plays an archive, faults included."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HTML = b"<html><body><h1>Please come back later</h1></body></html>"


class Archive:
    """A real HTTP server on localhost.

    `answer(path, query, body)` plays the service: it gets the path, the query as a dict of text and
    the body of the request, and returns (status, content type, bytes). `fault(number, url)` says
    what goes wrong with the request of that number (from 0): None, "html" (200 with a page), a
    status such as "500" or "429" (that with Retry-After), "slow", "truncated" (fewer bytes than
    promised), "short" (fewer bytes, and no more are promised) or "dropped". `requests` lists what
    was asked, `peak` is how many requests were under way at once at most.
    """

    def __init__(self, answer, fault=lambda number, url: None, *, delay=1.0, retry_after="0"):
        self.answer, self.fault = answer, fault
        self.delay, self.retry_after = delay, retry_after
        self.requests = []
        self.peak = self._under_way = 0
        self._lock = threading.Lock()
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                archive._handle(self)

            do_POST = do_GET

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        with self._lock:
            number = len(self.requests)
            self.requests.append(request.path)
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
        try:
            fault = self.fault(number, request.path)
            if fault == "slow":
                time.sleep(self.delay)
            status, kind, content, headers = self._respond(fault, request.path, body)
        finally:
            # Before the client has its answer, and may ask for the next thing.
            with self._lock:
                self._under_way -= 1
        if fault == "dropped":
            request.connection.close()
            request.close_connection = True
            return
        try:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Type", kind)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            # "truncated" promises more than it gives.
            request.wfile.write(content[: len(content) // 2] if fault == "truncated" else content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting

    def _respond(self, fault, url, body):
        """Status, content type, content and further headers."""
        if fault == "html":
            return 200, "text/html", HTML, {}
        if fault == "429":
            headers = {"Retry-After": self.retry_after}
            return 429, "text/plain", b"Too many requests", headers
        if fault and fault.isdecimal():
            return int(fault), "text/html", HTML, {}
        parts = urlsplit(url)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        status, kind, content = self.answer(parts.path, query, body)
        if fault == "short":
            content = content[: len(content) // 2]
        return status, kind, content, {}

"""What the server of a page answers: which requests, from whom, and with which headers."""

import ipaddress
import re
import socket

from panel.io.server import WSHandler
from tornado.routing import Matcher, PathMatches, Rule
from tornado.web import OutputTransform, RequestHandler
from tornado.websocket import WebSocketHandler

__all__ = ["Headers", "names_of", "put_before"]

# All that a page asks for. Panel would import any module that is named after /components/.
_ANSWERED = (
    r"/",
    r"/ws",
    r"/favicon\.ico",
    r"/static/(js|extensions/panel)/(?!.*\.\.)([\w@^./-]|%5E)+",
)

# Bokeh's and Panel's pages have scripts and styles in them, and modules as blobs. Nothing comes
# from elsewhere, and nothing can be sent there.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Headers(OutputTransform):
    """Tells browsers what the page may do, with every answer.

    Parameters
    ----------
    request : tornado.httputil.HTTPServerRequest
        That is answered.
    """

    def transform_first_chunk(self, status_code, headers, chunk, finishing):
        """Add to the headers of an answer, as tornado asks for it.

        Parameters
        ----------
        status_code : int
            Of the answer.
        headers : tornado.httputil.HTTPHeaders
            Of the answer; added to.
        chunk : bytes
            What it begins with.
        finishing : bool
            Whether that is all of it.

        Returns
        -------
        tuple
            The first three.
        """
        headers.update(_HEADERS)
        return status_code, headers, chunk


def names_of(address):
    """Under which names the page can be asked for.

    Parameters
    ----------
    address : str
        That is listened on.

    Returns
    -------
    set of str

    Examples
    --------
    >>> from astroclip_astro.explorer.access import names_of
    >>> names_of("127.0.0.1")
    {'localhost'}
    """
    names = {"localhost"}
    if address != "localhost" and not ipaddress.ip_address(address).is_loopback:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names


def put_before(application, names):
    """Let a server answer nothing but what the page asks for.

    Parameters
    ----------
    application : bokeh.server.tornado.BokehTornado
        Of the server, with the page at ``/``.
    names : set of str
        Under which the page can be asked for, beside numbers. Under no other: a name of somebody
        else that is turned to this computer would make his page and this one the same to browsers.
    """
    context = {
        "application_context": application.applications["/"],
        "bokeh_websocket_path": "/ws",
    }
    unknown = {"status": 403, "text": "This page has another address."}
    nothing = {"status": 404, "text": "There is nothing here."}
    application.add_handlers(
        ".*",
        [
            Rule(_Unknown(names), _Refusal, unknown),
            Rule(PathMatches("/ws"), _Socket, context),
            Rule(_Other(), _Refusal, nothing),
        ],
    )


class _Unknown(Matcher):
    """Matches requests for a host that is no number and none of these names."""

    def __init__(self, names):
        self._names = names

    def match(self, request):
        try:
            ipaddress.ip_address(request.host_name.strip("[]"))
        except ValueError:
            return None if request.host_name in self._names else {}
        return None


class _Other(Matcher):
    """Matches what the page does not ask for."""

    def match(self, request):
        path = any(re.fullmatch(pattern, request.path) for pattern in _ANSWERED)
        # By which Bokeh would let others choose the session that somebody gets.
        chosen = {"bokeh-session-id", "bokeh-token"} & set(request.arguments)
        return {} if not path or chosen or "Bokeh-Session-Id" in request.headers else None


class _Refusal(RequestHandler):
    def initialize(self, status, text):
        self.status, self.text = status, text

    def prepare(self):
        self.set_status(self.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(self.text + "\n")


class _Socket(WSHandler):
    """The connection of a page: from the same address only, however that is reached."""

    def check_origin(self, origin):
        return WebSocketHandler.check_origin(self, origin)

    async def send_message(self, message):
        if message.msgtype == "ERROR":  # whose traceback is in the log
            message.content.update(text="the server could not do this", traceback=None)
        await super().send_message(message)

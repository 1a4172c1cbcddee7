"""Which hosts a page answers to."""

from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from astroclip_astro.explorer.access import put_before


@pytest.mark.parametrize("names", [{"localhost"}, {"localhost", "box", "box.example"}])
def test_no_other_name_passes_whatever_it_begins_or_ends_with(names):
    rules = []
    application = SimpleNamespace(
        applications={"/": None}, add_handlers=lambda pattern, given: rules.extend(given)
    )
    put_before(application, names)

    def refused(host):
        line = RequestStartLine("GET", "/", "HTTP/1.1")
        request = HTTPServerRequest(headers=HTTPHeaders({"Host": host}), start_line=line)
        return rules[0].matcher.match(request) is not None

    for name in names:
        for known in (name, name.upper(), f"{name}:5006"):
            assert not refused(known)
        for other in (f"{name}.evil.example", f"x{name}", f"{name}x", f"evil.{name}"):
            assert refused(other)
    for number in ("127.0.0.1", "127.0.0.1:5006", "[::1]:5006"):
        assert not refused(number)
    assert refused("127.0.0.1.evil.example")

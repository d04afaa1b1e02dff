"""Hands out the dashboard's files: `/`, and what lies below `/assets/`.

The policy that goes with each (Content Security Policy, level 3) lets the page load and ask nothing but this
address, run no script that isn't a file of this package, stand in no frame, and turn no string into markup:
names come from configs and peers, and the browser itself refuses to read them as anything but text.
Knows nothing of what the page shows.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastproxy.admin.answers import AdminError, answer
from fastproxy.model import Response

PAGE = b"/"
_ROOT = Path(__file__).parent
# Nothing that a path could leave the folder with: no dots but that of the ending, no empty name.
_ASSET = re.compile(rb"/(assets/(?:[a-z][a-z_-]*/)*[a-z][a-z_-]*\.(css|js|svg))")
_TYPES = {
    b"css": b"text/css; charset=utf-8",
    b"js": b"text/javascript; charset=utf-8",
    b"svg": b"image/svg+xml",
}
_FIELDS = (
    b"cache-control: no-cache\r\n"
    b"content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'\r\n"
    b"cross-origin-opener-policy: same-origin\r\n"
    b"cross-origin-resource-policy: same-origin\r\n"
    b"referrer-policy: no-referrer\r\n"
    b"x-content-type-options: nosniff\r\n"
)


def hand_out(path: bytes) -> Response:
    """Answer with a file.

    Raises:
        AdminError: there is none at this path.
    """
    if path == PAGE:
        return answer(200, b"text/html; charset=utf-8", (_ROOT / "index.html").read_bytes(), _FIELDS)
    found = _ASSET.fullmatch(path)
    file = None if found is None else _ROOT / found[1].decode()
    if found is None or file is None or not file.is_file():
        raise AdminError(404, "the dashboard has no such file; it begins at /")
    return answer(200, _TYPES[found[2]], file.read_bytes(), _FIELDS)

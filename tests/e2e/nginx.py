"""nginx as the plain, well-made service behind the in proxy."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

_CONFIG = """
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    client_max_body_size 0; default_type text/plain; etag on;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {folder}/files; }}
        location = /hello {{ return 200 "hello from nginx"; }}
        location = /nothing {{ return 204; }}
        location = /moved {{ return 302 /hello?to=b; }}
        location = /seen {{ return 200 "$request_method $request_uri $http_host"; }}
    }}
}}
"""


class Nginx:
    """A running nginx. `endpoint` is its address, `files` the folder that it serves."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            pytest.fail("nginx is missing; install the Debian package nginx-light")
        self.files = folder / "files"
        self.files.mkdir()
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            port = listener.getsockname()[1]
            self.endpoint = f"127.0.0.1:{port}"
            # As root it would give up its rights, and with them the way to the tests' folder.
            user = "user root;" if os.getuid() == 0 else ""
            (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=port, user=user))
            # nginx takes over listening sockets that this variable names: nothing has to wait for it.
            self._process = subprocess.Popen(
                [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")],
                pass_fds=[listener.fileno()],
                env={"NGINX": f"{listener.fileno()};"},
                stderr=subprocess.DEVNULL,
            )

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

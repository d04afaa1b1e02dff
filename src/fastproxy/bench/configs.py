"""How each proxy of the comparison is configured: ports and paths in, config text out.

All proxies are held to the same terms: one thread, no access log, TLS 1.3 with certificates verified on
both sides where there is TLS, connections kept for as long as the run lasts. Beyond that each keeps its
own defaults. Pure: reads and writes no file, starts nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastproxy.bench.credentials import Credentials, Place, host_name

SERVICE = "search_service"
SERVICE_PATH = "/api/service"
CALLER_PATH = f"/{SERVICE}{SERVICE_PATH}"
"""What the caller asks for; fastproxy takes the service's name from it, the other proxies pass it on."""

ANSWER = b'{"code":0,"message":"success","data":"hello world"}'

SINK_PATH = "/api/sink"
"""Where the service reads all of a body before it answers; at `SERVICE_PATH` it answers at once."""

FILES_PATH = "/api/files"
MIB = 1 << 20
GIB = 1 << 30
BODY_BYTES = (64, 512, 4096, 32_768, 262_144, MIB, 16 * MIB)
"""From 64 B to 16 MiB."""

FILE_BYTES = {"gib": GIB, "endless": 1 << 40} | {str(size): size for size in BODY_BYTES}
"""What the service hands out below `FILES_PATH`: names and sizes. No run gets to the end of the endless."""

SOCKET_NAME = "s"
"""Of the service's Unix socket, in its folder: short, since a socket's path may have 107 characters."""

EXCHANGE_LIMIT_S = 300
"""Time for one exchange where a proxy limits it: enough for a body of 1 GiB on a slow machine."""

CONNECTIONS_MAX = 1000
"""Most connections that the load may open, unless a config is made for more."""

KEPT_REQUESTS = 1_000_000_000
"""Requests that nginx takes on one connection: no run reaches it, so no connection is renewed midway."""

HEADERS_MAX = 200
"""Most fields of a head, where a proxy limits them: those of the load, and what the proxies add."""

SERVICE_CONNECTIONS = 16_000
"""Connections that the service has room for: those of the largest load, and some to itself."""

HttpVersion = Literal["http/1.1", "h2"]


@dataclass(frozen=True, slots=True)
class ConfigSize:
    """How much a config holds and allows.

    callers, routes, endpoints: entries, of which one is used; only proxies of this package have them.
    connections: most that the load may open; limits leave room for both sides of as many.
    """

    callers: int = 1
    routes: int = 1
    endpoints: int = 1
    connections: int = CONNECTIONS_MAX

    @property
    def entries(self) -> int:
        """How many entries of all kinds there are, which a start has to go through."""
        return self.callers + self.routes + self.endpoints


SMALL = ConfigSize()


@dataclass(frozen=True, slots=True)
class Leg:
    """What one proxy of a chain is given.

    port: where it listens. next_port: where it forwards to. admin_port: for proxies that need one.
    folder: its own, for whatever it writes. size: how large its config is.
    service_socket: another way to the service, for an in proxy with many endpoints.
    """

    place: Place
    port: int
    next_port: int
    admin_port: int
    folder: Path
    credentials: Credentials
    size: ConfigSize = SMALL
    service_socket: Path = Path()


def haproxy_tcp(leg: Leg) -> str:
    """Return a config that relays bytes: no HTTP, no TLS; the most that a proxy can do by doing the least."""
    return _haproxy(leg, mode="tcp", bind=f"127.0.0.1:{leg.port}", server=f"127.0.0.1:{leg.next_port}")


def haproxy_tls(leg: Leg, version: HttpVersion) -> str:
    """Return a config that speaks HTTP at the outer side and `version` over mutual TLS at the inner one."""
    identity = (
        f"ssl crt {leg.credentials.certificates[leg.place]} ca-file {leg.credentials.ca} verify required"
    )
    bind = f"127.0.0.1:{leg.port}"
    server = f"127.0.0.1:{leg.next_port}"
    if leg.place == "out":
        name = host_name("in")
        server += f" {identity} alpn {version} sni str({name}) verifyhost {name}"
    else:
        bind += f" {identity} alpn {version}"
    return _haproxy(leg, mode="http", bind=bind, server=server)


def _haproxy(leg: Leg, mode: Literal["tcp", "http"], bind: str, server: str) -> str:
    reuse = "http-reuse always" if mode == "http" else ""
    return f"""\
global
    nbthread 1
    maxconn {2 * leg.size.connections}
    no strict-limits
    tune.http.maxhdr {HEADERS_MAX}
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {reuse}

frontend plain
    bind {bind}
    default_backend next

backend next
    server next {server}
"""


def nginx_service(port: int, folder: Path) -> str:
    """Return a config of the service itself: answer, sink and files, at paths with and without its name."""
    answer = f"default_type application/json; return 200 '{ANSWER.decode()}';"
    # nginx reads all of a body only to pass it on, and so passes the bare request on to itself.
    sink = f"""\
client_max_body_size 0;
            client_body_buffer_size {MIB};
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_http_version 1.1;
            proxy_pass http://itself{SERVICE_PATH};"""
    files = f"alias {folder}/files/;"
    locations = "".join(
        f"""\
        location = {prefix}{SERVICE_PATH} {{ {answer} }}
        location {prefix}{FILES_PATH}/ {{ {files} }}
        location = {prefix}{SINK_PATH} {{
            {sink}
        }}
"""
        for prefix in ("", f"/{SERVICE}")
    )
    return _nginx(
        folder,
        SERVICE_CONNECTIONS,
        f"""\
    upstream itself {{
        server 127.0.0.1:{port};
        keepalive {CONNECTIONS_MAX};
        keepalive_requests {KEPT_REQUESTS};
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen unix:{folder / SOCKET_NAME} backlog=4096;
{locations}\
    }}
""",
    )


def nginx_tls(leg: Leg) -> str:
    """Return a config of nginx with HTTP/1.1 over mutual TLS between the two."""
    certificate, ca = leg.credentials.certificates[leg.place], leg.credentials.ca
    if leg.place == "out":
        listen = f"listen 127.0.0.1:{leg.port} backlog=4096;"
        forward = f"""\
proxy_pass https://next;
            proxy_ssl_certificate {certificate};
            proxy_ssl_certificate_key {certificate};
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {host_name("in")};
            proxy_ssl_protocols TLSv1.3;"""
    else:
        listen = f"""\
listen 127.0.0.1:{leg.port} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        ssl_protocols TLSv1.3;"""
        forward = "proxy_pass http://next;"
    return _nginx(
        leg.folder,
        4 * leg.size.connections,
        f"""\
    upstream next {{
        server 127.0.0.1:{leg.next_port};
        keepalive {leg.size.connections};
        keepalive_requests {KEPT_REQUESTS};
    }}
    server {{
        {listen}
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            # Bodies pass as they come, as through the others. By default they go by way of a disk, and
            # uploads reach 0.8 times as much.
            client_max_body_size 0;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            {forward}
        }}
    }}
""",
    )


def _nginx(folder: Path, connections: int, servers: str) -> str:
    # Started as root, nginx changes to a user who can't enter the run's folder, unless told to stay.
    user = "user root root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp_paths = "\n".join(f"    {kind}_temp_path {folder / kind};" for kind in kinds)
    return f"""\
{user}
worker_processes 1;
daemon off;
pid {folder / "nginx.pid"};
error_log stderr warn;
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    keepalive_requests {KEPT_REQUESTS};
{temp_paths}
{servers}}}
"""


def envoy_h2(leg: Leg) -> str:
    """Return a config of Envoy with HTTP/2 over mutual TLS between the two."""
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {
                        "name": "listener",
                        "address": _envoy_address(leg.port),
                        "filter_chains": [
                            {
                                "filters": [_envoy_connection_manager(leg.place)],
                                **(_envoy_tls("Downstream", leg) if leg.place == "in" else {}),
                            }
                        ],
                    }
                ],
                "clusters": [_envoy_cluster(leg)],
            }
        },
        indent=2,
    )


def _envoy_type(name: str) -> dict[str, str]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}"}


def _envoy_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_connection_manager(place: Place) -> dict[str, Any]:
    routes = [
        {"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": f"{EXCHANGE_LIMIT_S}s"}},
    ]
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            **_envoy_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": place,
            "common_http_protocol_options": {"max_headers_count": HEADERS_MAX},
            "codec_type": "HTTP1" if place == "out" else "HTTP2",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": _envoy_type("filters.http.router.v3.Router"),
                }
            ],
        },
    }


def _envoy_cluster(leg: Leg) -> dict[str, Any]:
    protocol = "http2_protocol_options" if leg.place == "out" else "http_protocol_options"
    endpoint = {"endpoint": {"address": _envoy_address(leg.next_port)}}
    return {
        "name": "next",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                **_envoy_type("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {protocol: {}},
            }
        },
        **(_envoy_tls("Upstream", leg) if leg.place == "out" else {}),
    }


def _envoy_tls(side: Literal["Downstream", "Upstream"], leg: Leg) -> dict[str, Any]:
    pem = {"filename": str(leg.credentials.certificates[leg.place])}
    other: Place = "in" if leg.place == "out" else "out"
    own = {"require_client_certificate": True} if side == "Downstream" else {"sni": host_name("in")}
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                **_envoy_type(f"transport_sockets.tls.v3.{side}TlsContext"),
                **own,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "tls_certificates": [{"certificate_chain": pem, "private_key": pem}],
                    "validation_context": {
                        "trusted_ca": {"filename": str(leg.credentials.ca)},
                        "match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": host_name(other)}}
                        ],
                    },
                },
            },
        }
    }

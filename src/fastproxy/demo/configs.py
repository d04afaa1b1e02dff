"""The config files of the demo's proxies, as text.

Knows nothing of processes and files; `stage` writes and starts what is described here.
"""

from __future__ import annotations

from collections.abc import Mapping

RECEIVER = "services-in"
SIGN_KEY, ENCRYPT_KEY = "lobby.sign", "lobby.encrypt"
SERVICES = ("token_service", "search_service", "order_service", "report_service")
"""What really plays; mail_service is a name that the impostor has taken."""

# Pings would be pieces that the eavesdropper might change in place of a call.
_QUIET = "ping_interval_s: 600"

_IN = """\
role: in
name: {receiver}
listen: {{address: "127.0.0.1:{port}", accept: [link, http, compat]}}
private_key: {{file: {receiver}.key}}
link: {{{quiet}}}
callers:
  chat_service: {{public_keys: [{chat_service}]}}
  song_service: {{public_keys: [{song_service}]}}
compat:
  sign_keys: {{{sign_key}: {{file: {sign_key}.secret}}}}
  encrypt_keys: {{{encrypt_key}: {{file: {encrypt_key}.secret}}}}
  callers:
    lobby_service: {{sign: [{sign_key}], encrypt: [{encrypt_key}]}}
services:
  token_service: {{endpoints: ["127.0.0.1:{token_service_port}"]}}
  search_service: {{endpoints: ["127.0.0.1:{search_service_port}"]}}
  order_service: {{endpoints: ["127.0.0.1:{order_service_port}"]}}
  report_service: {{endpoints: ["127.0.0.1:{report_service_port}"]}}
privileges:
  - callers: [song_service, lobby_service]
    services: [token_service]
    methods: [POST]
    paths: [/api/service]
  - callers: [chat_service]
    services: [search_service, order_service, report_service]
    methods: [POST]
    paths: [/api/service]
  - callers: [chat_service]
    services: [search_service]
    methods: [GET]
    paths: [/api/suggest]
    rate: {{per_s: 0.1, burst: 2}}
enforce: {enforce}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 5}}
workers: 1
"""

_IMPOSTOR = """\
role: in
name: {receiver}
listen: {{address: "127.0.0.1:0", accept: [link]}}
private_key: {{file: song_service.key}}
callers: {{chat_service: {{public_keys: [{chat_service}]}}}}
services: {{mail_service: {{endpoints: ["127.0.0.1:{token_service_port}"]}}}}
privileges: [{{callers: ["*"], services: ["*"]}}]
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
workers: 1
"""

_OUT = """\
role: out
name: out
listen: {{address: "127.0.0.1:0", service_from: path}}
callers:
  header: C_ServiceName
  names:
    chat_service: {{private_key: {{file: chat_service.key}}}}
    song_service: {{private_key: {{file: song_service.key}}}}
link: {{{quiet}, wait_s: 30}}
receivers:
  {receiver}: {{public_keys: [{receiver_key}], endpoints: ["127.0.0.1:{eavesdropper_port}"]}}
defaults: {{receiver: {receiver}, transport: link, timeout_s: 5}}
services:
  token_service: {{}}
  search_service: {{}}
  report_service: {{transport: http}}
  order_service:
    receiver: {{name: {receiver}, public_keys: [{receiver_key}]}}
    endpoints: ["127.0.0.1:{in_port}"]
    timeout_s: 30
  mail_service:
    receiver: {{name: {receiver}, public_keys: [{receiver_key}]}}
    endpoints: ["127.0.0.1:{impostor_port}"]
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
workers: 1
"""

_STRANGERS_OUT = """\
role: out
name: strangers-out
listen: {{address: "127.0.0.1:0", service_from: path}}
caller: chat_service
private_key: {{file: stranger.key}}
receivers:
  {receiver}: {{public_keys: [{receiver_key}], endpoints: ["127.0.0.1:{eavesdropper_port}"]}}
services: {{search_service: {{receiver: {receiver}, transport: link, timeout_s: 5}}}}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
workers: 1
"""

_OLD_OUT = """\
role: out
name: old-out
listen: {{address: "127.0.0.1:0", service_from: path}}
caller: lobby_service
compat:
  sign_keys: {{{sign_key}: {{file: {sign_key}.secret}}}}
  encrypt_keys: {{{encrypt_key}: {{file: {encrypt_key}.secret}}}}
  callers:
    lobby_service: {{sign: {sign_key}, encrypt: {encrypt_key}, compress: snappy}}
services: {{token_service: {{transport: compat, endpoints: ["127.0.0.1:{eavesdropper_port}"]}}}}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
workers: 1
"""

_NAMES = {"receiver": RECEIVER, "sign_key": SIGN_KEY, "encrypt_key": ENCRYPT_KEY, "quiet": _QUIET}


def in_config(
    public_keys: Mapping[str, str], service_ports: Mapping[str, int], port: int, enforce: str
) -> str:
    """Return the config of the in proxy.

    Args:
        public_keys: by whose they are. service_ports: by service. port: to listen at; 0 for any.
        enforce: the setting of this name.
    """
    return _IN.format(**_NAMES, **public_keys, **_ports(service_ports), port=port, enforce=enforce)


def impostor_config(public_keys: Mapping[str, str], service_ports: Mapping[str, int]) -> str:
    """Return the config of an in proxy that goes by the receiver's name, and has a caller's key."""
    return _IMPOSTOR.format(**_NAMES, **public_keys, **_ports(service_ports))


def out_configs(
    receiver_key: str, in_port: int, eavesdropper_port: int, impostor_port: int
) -> dict[str, str]:
    """Return the configs of the out proxies by name: the callers', the stranger's, the old one.

    Args:
        receiver_key: public. in_port, eavesdropper_port: the straight way to it, and the way that is watched.
        impostor_port: what discovery has for mail_service.
    """
    ports = {"in_port": in_port, "eavesdropper_port": eavesdropper_port, "impostor_port": impostor_port}
    return {
        name: template.format(**_NAMES, **ports, receiver_key=receiver_key)
        for name, template in (("out", _OUT), ("strangers-out", _STRANGERS_OUT), ("old-out", _OLD_OUT))
    }


def _ports(service_ports: Mapping[str, int]) -> dict[str, int]:
    return {f"{service}_port": port for service, port in service_ports.items()}

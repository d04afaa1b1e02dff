"""Configured addresses, as discovery is handed them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    host: str
    port: int
    text: str
    is_ip: bool = False
    is_unix: bool = False


def name(host: str, port: int = 80) -> Place:
    return Place(host, port, f"{host}:{port}")


def ip(host: str, port: int = 80) -> Place:
    return Place(host, port, f"{host}:{port}", is_ip=True)


def unix(path: str) -> Place:
    return Place(path, 0, f"unix:{path}", is_unix=True)

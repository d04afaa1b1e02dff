"""What is said of the machine and of versions."""

from __future__ import annotations

import pytest

from fastproxy.bench.facts import collect, cpu_model, versions
from fastproxy.bench.tools import HAPROXY, NGINX, WRK, Tool

ABSENT = Tool("no-such-program", "apt-get install no-such-package", "-v")


def test_the_processor_has_a_name() -> None:
    assert (
        cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nmodel name\t: A CPU @ 2 GHz\n")
        == "A CPU @ 2 GHz"
    )
    assert cpu_model("processor\t: 0\nModel\t\t: Raspberry Pi\n") == "Raspberry Pi"
    assert cpu_model("") != ""


def test_facts_are_those_of_this_machine() -> None:
    facts = collect("fastproxy bench", [NGINX, ABSENT])
    assert facts.cores >= 1
    assert facts.memory_mib > 100
    assert facts.started.endswith("+00:00")
    assert {"python", "fastproxy", "nginx"} <= facts.versions.keys()
    assert ABSENT.name not in facts.versions


@pytest.mark.parametrize("tool", [WRK, NGINX, HAPROXY])
def test_versions_are_bare_numbers(tool: Tool) -> None:
    assert len(versions([tool])[tool.name].split(".")) == 3

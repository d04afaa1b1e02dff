"""What counts as an IP address."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.address import Address

octets = st.integers(0, 300).map(str) | st.sampled_from(
    ["00", "01", "007", "", "-1", "1_0", "١", "0x1", "1 ", "1\n"]
)
hosts = (
    st.lists(octets, min_size=1, max_size=5).map(".".join)
    | st.ip_addresses().map(str)
    | st.text(":.af01%", max_size=9)
)


@given(hosts)
def test_the_quick_look_finds_the_same_as_the_library(host: str) -> None:
    try:
        ipaddress.ip_address(host)
        expected = True
    except ValueError:
        expected = False
    assert Address(host, 80, "").is_ip == expected

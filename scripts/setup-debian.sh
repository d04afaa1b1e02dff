#!/usr/bin/env bash
# Makes sure of the Debian packages that tests and measurements need: installs the missing ones when run as
# root, names them otherwise. `setup-debian.sh long` adds what only the long tests need.
set -euo pipefail

# Debian's package, and a command that it brings.
needed=(
    nginx-light:nginx
    haproxy:haproxy
    wrk:wrk
    dnsmasq-base:dnsmasq
    iproute2:ip
    strace:strace
    linux-perf:perf
    curl:curl
    slowhttptest:slowhttptest
    faketime:faketime
    prometheus:promtool
    chromium:chromium
)
# 450 MiB, for one test.
[ "${1:-}" != long ] || needed+=(golang-go:go)

PATH="$PATH:/usr/sbin:/sbin"
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "The tests need what Debian has in these packages: ${missing[*]}. Install your system's equivalents." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "The tests need these Debian packages: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "Installing Debian packages: ${missing[*]} …"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# RUNLEVEL=1: none of their services may start just because its package was installed.
RUNLEVEL=1 apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null

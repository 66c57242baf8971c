#!/bin/sh
# The command line of the instance that systemd runs: it names its configuration and data unless you do.
: "${DEORA_CONFIG:=/etc/deora}" "${DEORA_DATA:=/var/lib/deora}"
export DEORA_CONFIG DEORA_DATA
exec /opt/deora/program/deora "$@"

#!/bin/sh
# Send an event from a shell: send.sh [SOCKET]; needs nc (Debian: netcat-openbsd) or socat.
socket=${1:-/run/leanbase-relay/relay.sock}
event='{"event":"backup done","distinct_id":"host-7","properties":{"seconds":12.50}}'

if command -v socat >/dev/null; then
  echo "$event" | socat -t 2 - "UNIX-CONNECT:$socket"
else
  echo "$event" | nc -NU -w 2 "$socket"
fi

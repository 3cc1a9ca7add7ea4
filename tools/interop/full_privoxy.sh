#!/bin/bash
# Runs Privoxy with a limit of connections, and holds so many. It answers each further one with 503,
# before the request, and closes.
dir=$1 port=$2 limit=2
printf 'listen-address 127.0.0.1:%s\nmax-client-connections %s\nconfdir /etc/privoxy\n' \
  "$port" "$limit" > "$dir/privoxy.conf"
privoxy --no-daemon "$dir/privoxy.conf" &
trap 'kill $!' EXIT
held=()
for ((i = 0; i < limit; i++)); do
  until exec {fd}<> "/dev/tcp/127.0.0.1/$port"; do sleep 0.1; done 2> /dev/null
  held+=("$fd")
done
wait

#!/bin/sh
# Runs degu. serve, receive and sync run with strangers, or when another program starts them, so they
# get only the flags that "degu permissions" prints. The other commands get all flags of
# agent/docs/guide.md, and service may also run systemctl.
self=$0
# Old versions of macOS have no readlink -f.
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target in
  /*) self=$target ;;
  *) self=$(dirname -- "$self")/$target ;;
  esac
done
case $self in
*/*) ;;
*) self=./$self ;;
esac
main=${self%/*}/main.ts
flags='--no-config
--allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE,TERM
--allow-net
--allow-read
--allow-write
--allow-sys=hostname,networkInterfaces,statfs,uid'
# Each line of the flags is a word, also with spaces and stars.
IFS='
'
set -f
# Of the options before a command, only --home has a value.
command=
previous=
for word; do
  case $previous,$word in
  --home,*) previous= ;;
  *,-*) previous=$word ;;
  *)
    command=$word
    break
    ;;
  esac
done
case $command in
serve | receive | sync)
  output=$(deno run $flags "$main" permissions --flags "$@" </dev/null)
  code=$?
  case $code,$output in
  0,--no-prompt*) flags=$output ;;
  0,) ;; # No flag can name a path. A warning names it.
  0,*) flags='--no-config
--no-prompt' ;; # The output is a help.
  *)
    [ -z "$output" ] || printf '%s\n' "$output"
    exit "$code"
    ;;
  esac
  ;;
service)
  # Without --quiet, Deno prints that it finds no systemctl.
  flags=$flags'
--quiet
--no-prompt
--allow-run=systemctl'
  ;;
esac
exec deno run $flags "$main" "$@"

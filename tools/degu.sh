#!/bin/sh
# Runs degu. serve, receive and sync --every run for long or with strangers, so they get only the
# flags that "degu permissions" prints, and the other commands all flags of agent/docs/guide.md.
main=$(dirname -- "$(readlink -f -- "$0")")/main.ts
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
command=
for word; do
  case $command:$word in
  :permissions | :serve | :receive | :sync) command=$word ;;
  sync:--every | sync:--every=*) command='sync --every' ;;
  esac
done
case $command in
serve | receive | 'sync --every')
  least=$(deno run $flags "$main" permissions --flags "$@" </dev/null 2>/dev/null)
  case $?,$least in
  0,--no-prompt*) flags=$least ;;
  [023],*) ;; # It prints a help or an error.
  *) echo "degu: warning: $command runs with the permissions of all commands" >&2 ;;
  esac
  ;;
esac
exec deno run $flags "$main" "$@"

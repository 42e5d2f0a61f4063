#!/bin/sh
# Runs a compiler, and moves what ptxas -v says of registers and spills from its messages to OBJECT.ptxas.
object= previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
messages=$(mktemp) || exit 1
"$@" 2>"$messages"
status=$?
said='^ptxas info|bytes stack frame'
[ -z "$object" ] || grep -E "$said" "$messages" >"$object.ptxas"
grep -Ev "$said" "$messages" >&2
rm -f "$messages"
exit $status

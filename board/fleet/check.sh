#!/usr/bin/env bash
# Flashes a product of about 10 MB to three boards through a real sshd. The boards are three folders of
# this machine with a store, keys and a line each; a key of its own leads to each of them. The sshd
# listens on 127.0.0.1 only, has its own configuration and host key, and ends with this script.
#
#   board/fleet/check.sh                  builds the release programs
#   board/fleet/check.sh --programs DIR   takes partgate and partgate-train from there
#   board/fleet/check.sh --product FILE   takes this bundle instead of a fit
#
# One board refuses on purpose and must stay as it was. One connection is cut in the middle of the copy,
# one is silent as after a pulled cable, and one copy is interrupted here. All must go on where they
# ended. Needs sshd (it is installed if this is root) and no root otherwise. Takes two minutes at most;
# each step has a limit. The last line is "N passed, N failed".
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

programs="" product=""
while [ $# -gt 0 ]; do
    case $1 in
        --programs) programs=$(realpath -e "${2:-}") || fail "--programs: no such folder" ; shift 2 ;;
        --product) product=$(realpath -e "${2:-}") || fail "--product: no such file" ; shift 2 ;;
        *) fail "unknown argument $1; the head of this file has the usage" ;;
    esac
done
if [ -z "$programs" ]; then
    (cd "$root" && cargo build --locked --release --workspace --exclude gate-no-std >&2)
    programs=${CARGO_TARGET_DIR:-$root/target}/release
fi
sshd=$(command -v sshd || true)
[ -n "$sshd" ] || sshd=/usr/sbin/sshd
if [ ! -x "$sshd" ]; then
    [ "$(id -u)" = 0 ] || fail "sshd is missing; install it with: apt-get install openssh-server"
    { apt-get -q update && apt-get -q -y install openssh-server; } >&2 || fail "openssh-server cannot be installed"
fi
# Its privilege separation wants this folder, which a service would make.
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

work=$(mktemp -d)
server=""
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

trainer() {
    timeout 100 "$programs/partgate-train" "$@"
}

trainer keygen plant-7 --out "$work" >/dev/null
if [ -n "$product" ]; then
    cp "$product" "$work/lid.pgp"
else
    echo "product: a fit of rendered parts, large by its Gaussians"
    timeout 60 "$programs/partgate" render "$work/set" --seed 1 --train 16 --test 0 --per-defect 0 --quiet >/dev/null
    trainer fit "$work/set" -o "$work/lid.pgp" --name lid --method bank-gaussian --size 384 \
        --max-bank 512 --folds 2 --goldens 8 --seed 1 >"$work/fit.txt" 2>&1 || {
        cat "$work/fit.txt" >&2
        fail "the fit failed"
    }
fi
trainer sign "$work/lid.pgp" --key "$work/plant-7.secret" --revision 1 >/dev/null
product=$work/lid.pgp
bytes=$(stat -c %s "$product")

# The boards. The forced command of each key runs what ssh asks for in the board's folder.
boards="press-1 press-2 press-3"
for board in $boards; do
    mkdir -p "$work/$board/keys"
    cp "$work/plant-7.key" "$work/$board/keys/"
    cat >"$work/$board/line.toml" <<END
board = "generic-x86"
[store]
folder = "store"
[trust]
keys = "keys"
[camera]
source = "rendered"
on_trigger = true
seed = 1
defective_percent = 0.0
[trigger]
kind = "socket"
min_pitch_ms = 1000
[capture]
exposure_max_ms = 50
delivery_ms = 50
[gate]
after_ms = 60000
pulse_ms = 40
ejector = "pass"
[inference]
threads = 1
timeout_ms = 60000
[lines]
pass = "line pass"
[record]
folder = "record"
[control]
socket = "control.sock"
END
    ssh-keygen -q -t ed25519 -N "" -C "$board" -f "$work/$board.ssh"
    echo "command=\"$work/command $work/$board\",restrict $(cat "$work/$board.ssh.pub")" >>"$work/authorized_keys"
done
# What happens to a copy is set by a file in the board's folder: the process of sshd that has this
# connection is killed, or stopped as if a cable was pulled, or the board takes 1 MB per 0.3 s. The
# shell of the user stands between sshd and this script.
cat >"$work/command" <<'END'
#!/usr/bin/env bash
cd "$1" || exit 1
echo "$SSH_ORIGINAL_COMMAND" >>commands
serving() {
    local pid=$PPID
    until grep -qs '^sshd' "/proc/$pid/comm"; do
        pid=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status")
    done
    echo "$pid"
}
part=${SSH_ORIGINAL_COMMAND#cat >> }
part=${part//\'/}
case $SSH_ORIGINAL_COMMAND in
    "cat >> "*)
        if [ -e cut ]; then
            rm cut
            head -c 3000000 >>"$part"
            kill -KILL "$(serving)"
            exit
        elif [ -e silent ]; then
            rm silent
            head -c 2000000 >>"$part"
            kill -STOP "$(serving)"
            serving >stopped
            exit
        elif [ -e slow ]; then
            while head -c 1000000 >piece && [ -s piece ]; do
                cat piece >>"$part"
                sleep 0.3
            done
            exit
        fi
        ;;
esac
exec sh -c "$SSH_ORIGINAL_COMMAND"
END
chmod +x "$work/command"

# sshd, on a free port.
ssh-keygen -q -t ed25519 -N "" -f "$work/host_key"
for port in 22022 22122 22222 22322; do
    cat >"$work/sshd_config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $work/host_key
AuthorizedKeysFile $work/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH=$programs:/usr/local/bin:/usr/bin:/bin
END
    "$sshd" -D -e -f "$work/sshd_config" 2>"$work/sshd.txt" &
    server=$!
    sleep 0.5
    kill -0 "$server" 2>/dev/null && break
    server=""
done
[ -n "$server" ] || fail "sshd does not start: $(cat "$work/sshd.txt")"
for board in $boards; do
    cat >>"$work/ssh_config" <<END
Host $board
    HostName 127.0.0.1
    Port $port
    User $(id -un)
    IdentityFile $work/$board.ssh
    IdentitiesOnly yes
    UserKnownHostsFile $work/known_hosts
    StrictHostKeyChecking accept-new
END
done
printf '#!/bin/sh\nexec ssh -F %s "$@"\n' "$work/ssh_config" >"$work/ssh"
chmod +x "$work/ssh"
{
    printf 'line = "line.toml"\nparallel = 2\n'
    for board in $boards; do
        printf '[[board]]\nname = "%s"\nhost = "%s"\n' "$board" "$board"
        [ "$board" != press-2 ] || echo 'canary = true'
    done
} >"$work/fleet.toml"

passed=0 failed=0
# check WORDS COMMAND ARGS: runs one check.
check() {
    local words=$1 outcome=ok
    shift
    "$@" || outcome=FAILED
    if [ $outcome = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    printf '%-7s %s\n' $outcome "$words"
}
now() {
    date +%s.%N
}
# timed FILE COMMAND ARGS: its output goes to FILE and here; its exit code and seconds are set.
timed() {
    local file=$1 began
    shift
    began=$(now)
    code=0
    "$@" >"$file" 2>&1 || code=$?
    seconds=$(echo "$(now) $began" | awk '{ printf "%.1f", $1 - $2 }')
    sed 's/^/    /' "$file"
}
flash() {
    trainer flash --fleet "$work/fleet.toml" "$product" --ssh "$work/ssh" --by check
}
says() {
    grep -q -- "$2" "$1"
}
slot() {
    (cd "$work/$1" && "$programs/partgate" store --line line.toml --json 2>/dev/null | grep -c "\"product\": \"lid\"") || true
}
contents() {
    (cd "$work/$1" && find . -type f ! -name commands ! -path './store/lock' -exec sha256sum {} + | sort)
}

echo "1. $bytes bytes to three boards; press-1 trusts no key, and the canary's connection is cut"
mv "$work/press-1/keys" "$work/press-1.keys"
touch "$work/press-2/cut"
timed "$work/first.txt" flash
check "the command fails ($seconds s)" [ "$code" = 5 ]
check "the copy to the canary goes on where it was cut" says "$work/first.txt" "press-2: goes on with the copy at byte 3000000 of $bytes"
check "the canary has the product" [ "$(slot press-2)" = 1 ]
check "press-1 refuses" says "$work/first.txt" "press-1 *failed.*not trusted here"
check "press-1 runs nothing, as before" [ "$(slot press-1)" = 0 ]
check "no half copy is left" [ -z "$(find "$work"/press-* -name '.partgate-*')" ]

echo "2. again, with the key there; a board is silent in the middle of the copy"
mv "$work/press-1.keys" "$work/press-1/keys"
touch "$work/press-1/silent"
timed "$work/second.txt" flash
check "the command succeeds ($seconds s)" [ "$code" = 0 ]
check "the copy goes on behind the silence" says "$work/second.txt" "press-1: goes on with the copy at byte 2000000 of $bytes"
[ ! -e "$work/press-1/stopped" ] || kill -KILL "$(cat "$work/press-1/stopped")" 2>/dev/null || true
check "all three boards have the product" [ "$(slot press-1)$(slot press-2)$(slot press-3)" = 111 ]

echo "3. a newer revision; the flash is interrupted here, and given again"
for board in $boards; do
    (cd "$work/$board" && "$programs/partgate" confirm --line line.toml --by check >/dev/null)
done
trainer sign "$product" --key "$work/plant-7.secret" --revision 2 >/dev/null
touch "$work/press-2/slow"
timeout -s INT 2.5 "$programs/partgate-train" flash press-2 "$product" --line line.toml --ssh "$work/ssh" --by check \
    >"$work/third.txt" 2>&1 || true
rm "$work/press-2/slow"
sed 's/^/    /' "$work/third.txt"
sleep 1
part=$(find "$work/press-2" -name '.partgate-*' -exec stat -c %s {} +)
check "a part of it is there (${part:-0} of $bytes bytes)" [ "${part:-0}" -gt 0 -a "${part:-0}" -lt "$bytes" ]
timed "$work/fourth.txt" flash
check "the command succeeds ($seconds s)" [ "$code" = 0 ]
check "the copy goes on" says "$work/fourth.txt" "press-2: goes on with the copy at byte $part of $bytes"

echo "4. a product that no key signed goes nowhere"
cp "$product" "$work/unsigned.pgp"
trainer calibrate "$product" --set-unknown 99 --set-ng 99 --force --reason "a check" -o "$work/unsigned.pgp" >/dev/null
product=$work/unsigned.pgp
before=$(contents press-2)
timed "$work/fifth.txt" flash
check "the canary refuses, and no other board is begun ($seconds s)" says "$work/fifth.txt" "press-3 *not begun"
check "the reason is said" says "$work/fifth.txt" "UNSIGNED"
# The refusal itself is an entry of the history, and the state counts it.
after=$(contents press-2)
check "its slots are as before" [ "$(echo "$before" | grep slot-)" = "$(echo "$after" | grep slot-)" ]

echo "5. the state of all boards, asked in parallel"
timed "$work/sixth.txt" trainer fleet status "$work/fleet.toml" --ssh "$work/ssh"
check "all answer ($seconds s)" [ "$code" = 0 ]
check "all have revision 2 on trial" [ "$(grep -c 'lid r2 trial' "$work/sixth.txt")" = 3 ]

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

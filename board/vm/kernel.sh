#!/usr/bin/env bash
# Fetches what the test machine boots: a stock Debian kernel, the modules of a camera and of GPIO that
# exist only in software, and busybox. Prints their folder.
#
#   board/vm/kernel.sh amd64|arm64
#   board/vm/kernel.sh --check amd64|arm64    only prints which packages it would use
#
# The camera is `vivid`, a module of Debian's own kernel. Debian's configuration does not contain
# `gpio-sim`, so it is built here from Debian's source of the same kernel. Everything stays in a cache
# folder: the first run takes a minute or two, later runs take no time.
#
# The packages of the archive do not always fit together. The newest image can exist for only one
# architecture. Its `linux-kbuild` can be gone already, because a new version replaces that package, while
# the other packages stay. So the script uses the newest kernel of which all packages exist in one version.
# If there is none, it uses the newest kernel with tools (linux-kbuild) of another version of the same
# series. The tools are host programs and do not depend on the kernel's version, which the headers state.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PARTGATE_CACHE:-$root/target/board}
# shellcheck source=board/vm/debian.sh
source "$here/debian.sh"

check=
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
architecture=${1:?usage: kernel.sh [--check] amd64|arm64}
case $architecture in
    amd64) kernel_arch=x86 compiler=x86_64-linux-gnu-gcc package=gcc ;;
    arm64) kernel_arch=arm64 compiler=aarch64-linux-gnu-gcc package=gcc-aarch64-linux-gnu ;;
    *) fail "architecture $architecture: amd64 and arm64 are known" ;;
esac
machine=$cache/kernel-$architecture
if [ -z "$check" ] && [ -e "$machine/complete" ]; then
    echo "$machine"
    exit
fi
needs apt-get apt
if [ -z "$check" ]; then
    needs make make
    needs xz xz-utils
    needs "$compiler" "$package"
fi
mkdir -p "$cache"
host=$(dpkg --print-architecture)
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Lists are refreshed now and packages fetched at once, because the archive changes.
rm -f "$cache/apt-$architecture/fresh" "$cache/apt-$host/fresh"
refresh "$architecture"
refresh "$host"
image=$(apt_of "$architecture" apt-cache depends "linux-image-$architecture" \
    | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1)
[ -n "$image" ] || fail "no package linux-image-$architecture: are Debian's sources in /etc/apt?"
series=$(cut -d. -f1,2 <<<"${image#linux-image-}")   # 6.1

# versions ARCHITECTURE PACKAGE: the versions in the archive, newest first.
versions() {
    apt_of "$1" apt-cache madison "$2" 2>/dev/null | cut -d'|' -f2 | tr -d ' ' | sort -Vru
}
images() {
    apt_of "$architecture" apt-cache pkgnames "linux-image-$series." \
        | grep -E "^linux-image-[0-9.]+-[0-9]+-$architecture\$" | sort -Vr
}
sources=$(versions "$architecture" "linux-source-$series")
tools=$(versions "$host" "linux-kbuild-$series")
[ -n "$tools" ] || fail "no package linux-kbuild-$series for $host"
# has LIST VERSION
has() {
    grep -qxF -- "$2" <<<"$1"
}
# Of the images whose headers and source exist in the same version: the first one with tools of that
# version. If there is none, the first image.
release='' version='' kbuild=''
for candidate in $(images); do
    name=${candidate#linux-image-}                  # 6.1.0-56-amd64
    of=$(versions "$architecture" "$candidate" | head -1)
    has "$(versions "$architecture" "linux-headers-$name")" "$of" || continue
    has "$(versions "$architecture" "linux-headers-${name%"-$architecture"}-common")" "$of" || continue
    has "$sources" "$of" || continue
    if has "$tools" "$of"; then
        release=$name version=$of kbuild=$of
        break
    fi
    [ -n "$release" ] || release=$name version=$of kbuild=$(head -1 <<<"$tools")
done
[ -n "$release" ] \
    || fail "no kernel $series with image, headers and source in one version for $architecture: the archive is between two releases; try again tomorrow"
echo "kernel $release ($version), built with linux-kbuild-$series $kbuild" >&2
if [ -n "$check" ]; then
    exit
fi

unpack "$architecture" "linux-image-$release=$version" "$work/image"
unpack "$architecture" "linux-headers-$release=$version" "$work/headers"
unpack "$architecture" "linux-headers-${release%"-$architecture"}-common=$version" "$work/headers"
unpack "$host" "linux-kbuild-$series=$kbuild" "$work/headers"
unpack "$architecture" "linux-source-$series=$version" "$work/source"
unpack "$architecture" busybox-static "$work/busybox"
[ "$host" = "$architecture" ] || unpack "$host" busybox-static "$work/busybox-host"

# gpio-sim and the interrupt simulator that it needs, from the kernel's tree. A function that only
# built-in code can call is replaced by the exported one that does the same; that one takes the number
# instead of the descriptor.
build=$work/gpio-sim
mkdir "$build"
echo "unpacking gpio-sim from the kernel's source" >&2
tar -xJf "$work/source/usr/src/linux-source-$series.tar.xz" -C "$build" --strip-components=3 \
    "linux-source-$series/drivers/gpio/gpio-sim.c" "linux-source-$series/drivers/gpio/gpiolib.h" \
    "linux-source-$series/kernel/irq/irq_sim.c"
sed -i -e 's/handle_simple_irq(irq_to_desc(irqnum))/generic_handle_irq_safe(irqnum)/' \
    -e 's/#include <linux\/slab.h>/&\n#include <linux\/module.h>/' "$build/irq_sim.c"
grep -q generic_handle_irq_safe "$build/irq_sim.c" \
    || fail "kernel/irq/irq_sim.c of $series is not the version that this script knows; see the comment above this check"
echo 'MODULE_LICENSE("GPL");' >> "$build/irq_sim.c"
echo 'obj-m := gpio-sim.o irq_sim.o' > "$build/Makefile"
headers=$work/headers/usr/src/linux-headers-$release
sed -i "s|^include /usr/src/|include $work/headers/usr/src/|" "$headers/Makefile"
make -s -C "$headers" ARCH="$kernel_arch" CROSS_COMPILE="${compiler%gcc}" CC="$compiler" M="$build" modules >&2 \
    || fail "gpio-sim cannot be built for $release"

# The modules, numbered in the order in which they must be loaded.
rm -rf "$machine"
mkdir -p "$machine/modules"
needs_of() {
    tr '\0' '\n' < "$1" | sed -n 's/^depends=//p' | tr ',' ' '
}
declare -A taken
count=0
take() {
    local name=${1//-/_} file needed
    [ -z "${taken[$name]:-}" ] || return 0
    taken[$name]=yes
    file=$(find "$build" "$work/image" -name '*.ko' | while read -r path; do
        base=${path##*/}
        base=${base%.ko}
        [ "${base//-/_}" != "$name" ] || echo "$path"
    done | head -1)
    [ -n "$file" ] || fail "the module $name is not in linux-image-$release"
    for needed in $(needs_of "$file"); do
        take "$needed"
    done
    count=$((count + 1))
    cp "$file" "$machine/modules/$(printf '%02d' $count)-$name.ko"
}
take gpio_sim
take vivid

cp "$work/image/boot/vmlinuz-$release" "$machine/vmlinuz"
cp "$work/busybox/bin/busybox" "$machine/busybox"
if [ "$host" = "$architecture" ]; then
    ln -s busybox "$machine/busybox-host"
else
    cp "$work/busybox-host/bin/busybox" "$machine/busybox-host"
fi
echo "$release" > "$machine/release"
touch "$machine/complete"
echo "$machine"

# Functions for Debian packages. The scripts of board/vm and board/cross source this file; it is not run.
#
# Packages are downloaded by name through apt, with separate package lists in the cache folder. So neither
# root nor a foreign architecture in the system's package database is needed. The caller sets `cache`.
# shellcheck shell=bash disable=SC2154

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# needs FILE PACKAGE: fails if the file or command, which PACKAGE contains, is missing.
needs() {
    command -v "$1" >/dev/null || [ -e "$1" ] || fail "$1 is missing; install it with: apt-get install $2"
}

# apt_of ARCHITECTURE COMMAND ARGS: runs apt-get or apt-cache for that architecture.
apt_of() {
    local architecture=$1 command=$2 state=$cache/apt-$1
    shift 2
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    "$command" -q -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" \
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# refresh ARCHITECTURE: reads the package lists, unless they were read today.
refresh() {
    local stamp=$cache/apt-$1/fresh
    [ -z "$(find "$stamp" -mmin -1440 2>/dev/null)" ] || return 0
    apt_of "$1" apt-get update >&2 \
        || fail "apt cannot read its package lists: is there a network, and is this Debian (see /etc/apt/sources.list)?"
    touch "$stamp"
}

# unpack ARCHITECTURE PACKAGE[=VERSION] FOLDER: downloads a package and unpacks it into FOLDER.
unpack() {
    local architecture=$1 package=$2 folder=$3 debs
    refresh "$architecture"
    debs=$(mktemp -d "$cache/debs.XXXXXX")
    (cd "$debs" && apt_of "$architecture" apt-get download "$package" >&2) \
        || fail "the Debian package $package ($architecture) cannot be downloaded"
    mkdir -p "$folder"
    dpkg-deb -x "$debs"/*.deb "$folder"
    rm -r "$debs"
}

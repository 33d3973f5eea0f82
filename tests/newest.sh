#!/bin/sh
# The fast tests on the wheel under Python 3.13: the machine's own, or that of Debian trixie in a folder of the cache.
set -eu
cd "$(dirname "$0")/.."
if python3.13 --version > /dev/null 2>&1; then  # a shim may be there without it
    folder=.venv-newest
    test -x $folder/bin/python || python3.13 -m venv $folder
    run() { (cd "$1" && shift && "$@"); }
    root=""
    python="$PWD/$folder/bin/python"
else
    root="${XDG_CACHE_HOME:-$HOME/.cache}/tlkit-newest/trixie"
    if ! test -x "$root/usr/bin/python3.13"; then
        command -v debootstrap > /dev/null || { echo "make test-newest needs python3.13, or root and debootstrap (apt-get install debootstrap)"; exit 2; }
        mkdir -p "$root"
        debootstrap --variant=minbase \
            --include=python3,python3-venv,ca-certificates,gcc,libc6-dev,libegl1,libgles2,git trixie "$root"
    fi
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"  # a network may have authorities of its own
    cp /etc/resolv.conf "$root/etc/"
    run() { place=$1; shift; chroot "$root" env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 TF_CPP_MIN_LOG_LEVEL=3 sh -c 'cd "$0" && exec "$@"' "$place" "$@"; }
    test -x "$root/venv/bin/python" || chroot "$root" python3.13 -m venv /venv
    python=/venv/bin/python
fi
source="${root:-$PWD/build}/tlkit-source"
rm -rf "$source"
mkdir -p "$source"
git ls-files -z | xargs -0 cp --parents -t "$source"  # what a checkout holds, and no more
inside="${source#"$root"}"
run "$inside" "$python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24" "setuptools>=77" build
run "$inside" "$python" -m build --wheel --outdir dist > /dev/null
wheel=$(cd "$source/dist" && echo *.whl)
run "$inside" "$python" -m pip install --quiet --disable-pip-version-check "dist/$wheel[dev]"
run "$inside" "$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "dist/$wheel"
run "$inside" "$python" --version
run "$inside" "$python" -m pip list --format freeze | grep -iE "^(tensorflow|keras|numpy|ai.edge.litert|pillow|tyro)[=_-]" || true
run "$inside" "$python" -P -m pytest -q -n 2 --dist worksteal -m "not slow and not long" -p no:cacheprovider "$@"

# What scripts/run and scripts/test share: finds or installs what they need. Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$top/target}
export CARGO_TARGET_DIR=$target

say() { printf '== %s\n' "$*" >&2; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# have PROGRAM: whether it is there. Not `command -v`, which would find functions too: scripts/clients has one named java.
have() {
  case $1 in
  ensurepip) python3 -c 'import ensurepip' 2> /dev/null ;; # Debian cuts this module out of python3, and `python3 -m venv` needs it
  *) type -P "$1" > /dev/null ;;
  esac
}

# need PROGRAM=PACKAGE...: installs Debian packages of programs that are missing, or says the command that does.
need() {
  local packages=() pair
  for pair in "$@"; do
    have "${pair%%=*}" || packages+=("${pair#*=}")
  done
  [ ${#packages[@]} -eq 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    say "installing ${packages[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >&2 ||
      fail "apt-get could not install ${packages[*]}"
  else
    fail "missing programs; run: sudo apt-get install -y ${packages[*]}"
  fi
}

# at_least A B: whether version A is at least B.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -1)" = "$1" ]; }

# need_rust [PROGRAM=PACKAGE]...: the compiler that rust-toolchain.toml pins comes by itself once rustup is there. What else the
# caller will need is asked for along with it: one command, not one after the other.
need_rust() {
  need cc=build-essential git=git curl=curl "$@"
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  # A cargo that is not rustup's does not read rust-toolchain.toml, and Debian's is years older than what the code needs.
  have rustup && return
  have cargo && at_least "$(cargo --version | cut -d' ' -f2)" "$(sed -n 's/^channel = "\(.*\)"/\1/p' "$top/rust-toolchain.toml")" && return
  say "installing rustup"
  curl -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --default-toolchain none --no-modify-path ||
    fail "no Rust; run: curl -sSf https://sh.rustup.rs | sh"
  . "$HOME/.cargo/env"
}

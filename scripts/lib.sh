# What scripts/run and scripts/test share: finds or installs what they need. Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$top/target}
export CARGO_TARGET_DIR=$target

say() { printf '== %s\n' "$*" >&2; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# need PROGRAM=PACKAGE...: installs Debian packages of programs that are missing, or says the command that does.
need() {
  local packages=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" > /dev/null || packages+=("${pair#*=}")
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

# The compiler that rust-toolchain.toml pins comes by itself once rustup is there.
need_rust() {
  need cc=build-essential git=git curl=curl
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  command -v cargo > /dev/null && return
  say "installing rustup"
  curl -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --default-toolchain none --no-modify-path ||
    fail "no Rust; run: curl -sSf https://sh.rustup.rs | sh"
  . "$HOME/.cargo/env"
}

//! Randomness from the kernel.

/// Never blocks once the machine has booted; the kernel gives up to 256 bytes at a time in one piece.
pub(crate) fn fill(bytes: &mut [u8]) {
    for part in bytes.chunks_mut(256) {
        // SAFETY: the pointer and length describe `part`, which is writable for this call.
        let got = unsafe { libc::getrandom(part.as_mut_ptr().cast(), part.len(), 0) };
        assert_eq!(got, part.len() as isize, "getrandom: {}", std::io::Error::last_os_error());
    }
}

//! Zigzag varints of the record format: small magnitudes of either sign take few bytes.

/// Bytes of the longest varint of a 64-bit value.
pub const VARLONG_BYTES_MAX: usize = 10;

/// Splits a varint off the front. `None` when it is cut or longer than any 64-bit value needs.
#[inline]
pub fn take_varlong(bytes: &mut &[u8]) -> Option<i64> {
    // Deltas and counts of ordinary records fit one byte, their lengths two.
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(zigzag(u64::from(first)));
    }
    if let Some((&second, rest)) = rest.split_first()
        && second < 0x80
    {
        *bytes = rest;
        return Some(zigzag(u64::from(first & 0x7f) | u64::from(second) << 7));
    }
    take_long_form(bytes)
}

fn take_long_form(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(VARLONG_BYTES_MAX).enumerate() {
        // The tenth byte holds the one bit that is left.
        if i == VARLONG_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(zigzag(value));
        }
    }
    None
}

/// Like [`take_varlong`]; `None` also for what does not fit 32 bits.
#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Option<i32> {
    take_varlong(bytes)?.try_into().ok()
}

#[inline]
pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Bytes that [`put_varlong`] writes.
#[inline]
pub fn varlong_len(value: i64) -> usize {
    let bits = 64 - (((value << 1) ^ (value >> 63)) as u64 | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[inline]
fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record starts with five of these: an encoder and a decoder that disagree on one value lose every record behind it.
    #[test]
    fn what_is_written_is_read_back_and_its_length_was_foretold() {
        let edges = (0..63).flat_map(|bit| [1i64 << bit, -(1i64 << bit), (1i64 << bit) - 1]);
        for value in edges.chain([i64::MAX, i64::MIN, 0, -1]) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(bytes.len(), varlong_len(value), "{value}");

            let mut rest = bytes.as_slice();
            assert_eq!(take_varlong(&mut rest), Some(value));
            assert!(rest.is_empty());
            assert_eq!(take_varlong(&mut &bytes[..bytes.len() - 1]), None, "{value} cut short");
        }
    }

    /// A decoder that shifts such bytes out of the word would read a wrong length and walk on.
    #[test]
    fn overlong_and_oversized_varints_are_refused() {
        assert_eq!(take_varlong(&mut [0x80u8; 10].as_slice()), None);
        assert_eq!(take_varlong(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02].as_slice()), None);
        let mut bytes = Vec::new();
        put_varlong(&mut bytes, i64::from(i32::MAX) + 1);
        assert_eq!(take_varint(&mut bytes.as_slice()), None);
    }
}

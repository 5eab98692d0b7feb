//! Zigzag varints of the record format, both widths.

//! CPU lists for people.

/// `0-3,6` of a sorted list.
pub fn show(cores: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let range =
        |(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    /// A banner that lists 128 CPUs one by one is one that nobody reads.
    #[test]
    fn ranges_are_folded() {
        assert_eq!(super::show(&[0, 1, 2, 6]), "0-2,6");
        assert_eq!(super::show(&[3]), "3");
    }
}

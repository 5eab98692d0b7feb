//! CPU lists.

use super::StartError;

/// The CPUs that this process may use, ascending: the default of `--cores`.
pub fn allowed_cores() -> Vec<usize> {
    let mut cores: Vec<_> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// `0-3,6`: the CPUs in ascending order, each once. Says which of them this process may not use.
pub fn parse_cores(list: &str) -> Result<Vec<usize>, StartError> {
    let allowed = allowed_cores();
    let refuse = |why: String| {
        StartError::Preflight(format!(
            "cores `{list}`: {why}. Expected a list like 0-3,6; this process may use {allowed:?}"
        ))
    };
    let mut cores = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse().map_err(|_| refuse(format!("`{part}` is no CPU or range")));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last {
            return Err(refuse(format!("the range `{part}` runs backwards")));
        }
        // Against the allowed ones, so that a range of billions is refused and not built.
        let inside = |core: &&usize| (first..=last).contains(core);
        let found: Vec<_> = allowed.iter().filter(inside).copied().collect();
        if found.len() <= last - first {
            return Err(refuse(format!(
                "`{part}` has CPUs that do not exist here or that taskset or a cpuset forbids"
            )));
        }
        cores.extend(found);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        let allowed = allowed_cores();
        let (first, last) = (allowed[0], *allowed.last().unwrap());
        assert_eq!(parse_cores(&format!("{first}")).unwrap(), [first]);
        assert_eq!(parse_cores(&format!("{last}, {first},{first}")).unwrap().first(), Some(&first));
        if allowed.len() == last - first + 1 {
            assert_eq!(parse_cores(&format!("{first}-{last}")).unwrap(), allowed);
        }
    }

    /// A typing error in a unit file must not start a broker on other cores than meant, nor take all memory.
    #[test]
    fn bad_lists_are_refused_with_the_reason() {
        for bad in ["", "a", "0-", "-1", "3-1", "0,,1", "0-18446744073709551615", "99999"] {
            let message = parse_cores(bad).unwrap_err().to_string();
            assert!(message.contains("Expected a list like 0-3,6"), "{message}");
        }
    }
}

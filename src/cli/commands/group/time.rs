//! Moments as people write them, in milliseconds since 1970.

const EXPECTED: &str = "expected 2026-01-01T00:00:00.000, maybe with Z or +02:00 behind it, or @MS since 1970";

/// The form of Kafka's tools, `YYYY-MM-DDThh:mm[:ss[.sss]]` with an offset from UTC behind it or none, or `@MS`.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().ok().filter(|ms| *ms >= 0).ok_or_else(|| EXPECTED.to_owned());
    }
    moment(text).ok_or_else(|| EXPECTED.to_owned())
}

fn moment(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (time, ahead_minutes) = split_offset(time)?;
    let mut time = time.split(':');
    let (hour, minute, seconds) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?, time.next().unwrap_or("00"));
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = digits(second, 2)?;
    if fraction.is_empty() || fraction.len() > 3 || date.next().is_some() || time.next().is_some() {
        return None;
    }
    let ms = digits(&format!("{fraction:0<3}"), 3)?;
    let is_valid = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_valid || year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - ahead_minutes;
    Some((minutes * 60 + second) * 1000 + ms)
}

/// The time, and how many minutes its clock is ahead of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = offset[1..].replace(':', "");
    let (hours, minutes) =
        (digits(offset.get(..2)?, 2)?, digits(offset.get(2..).filter(|m| !m.is_empty()).unwrap_or("00"), 2)?);
    (hours < 24 && minutes < 60).then_some((time, sign * (hours * 60 + minutes)))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let is_plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leaps_before = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leaps_before(year) - leaps_before(1970);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day off here reads a day of records twice, or never.
    #[test]
    fn moments_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("2026-01-01T00:00:00.000Z", 1_767_225_600_000),
            ("2024-02-29T12:34:56.7", 1_709_210_096_700),
            ("2024-03-01T00:00", 1_709_251_200_000),
            ("2000-03-01T00:00:00+02:00", 951_861_600_000),
            ("2026-01-01T00:00:00.000-0130", 1_767_231_000_000),
            ("@17", 17),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        for wrong in [
            "2026-01-01",
            "2026-13-01T00:00",
            "2023-02-29T00:00",
            "2026-1-1T00:00",
            "yesterday",
            "@-1",
            "@",
            "T",
            "2026-01-01T24:00",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Time as text: durations in the configuration (`150ms`, `30s`), instants in the status (RFC 3339, UTC).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Durations as strings of one whole number and one unit: `ms`, `s`, `m`, `h`. For `#[serde(with = ..)]`.
pub mod duration_text {
    use super::*;

    /// Writes the largest unit that holds the duration in a whole number.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*value))
    }

    /// Reads what [`super::parse_duration`] accepts.
    ///
    /// # Errors
    /// The text is not a whole number followed by `ms`, `s`, `m` or `h`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// The text of a duration, rounded down to milliseconds.
    #[must_use]
    pub fn format(value: Duration) -> String {
        let ms = value.as_millis();
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if ms != 0 && ms.is_multiple_of(size) {
                return format!("{}{unit}", ms / size);
            }
        }
        format!("{ms}ms")
    }
}

/// Reads one whole number and one unit: `150ms`, `30s`, `5m`, `1h`.
///
/// # Errors
/// [`TimeError::Duration`] for anything else, also for a number without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| TimeError::Duration)?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    ms.map(Duration::from_millis).ok_or(TimeError::Duration)
}

/// An instant in milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_ms: u64,
}

impl Timestamp {
    /// The instant so many milliseconds after the epoch; capped at the end of the year 9999.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self {
            unix_ms: if unix_ms > LAST_MS { LAST_MS } else { unix_ms },
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// For people: `2017-Aug-13 07:27:58`, UTC.
    #[must_use]
    pub fn shown(self) -> String {
        let t = self.civil();
        let month = MONTHS[t.month as usize - 1];
        format!(
            "{:04}-{month}-{:02} {:02}:{:02}:{:02}",
            t.year, t.day, t.hour, t.minute, t.second
        )
    }

    /// Days to civil date by Howard Hinnant's algorithm (era of 400 years, years that start in March).
    fn civil(self) -> Civil {
        let seconds = self.unix_ms / 1_000;
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Civil {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            hour: seconds % 86_400 / 3_600,
            minute: seconds % 3_600 / 60,
            second: seconds % 60,
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(LAST_MS))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.civil();
        let ms = self.unix_ms % 1_000;
        write!(f, "{:04}-{:02}-{:02}", t.year, t.month, t.day)?;
        write!(f, "T{:02}:{:02}:{:02}.{ms:03}Z", t.hour, t.minute, t.second)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    /// Reads `YYYY-MM-DDThh:mm:ss[.fff]Z`, nothing looser.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('Z').ok_or(TimeError::Timestamp)?;
        let (text, ms) = match text.split_once('.') {
            Some((text, ms)) if ms.len() == 3 => (text, number(ms, 0, 999)?),
            Some(_) => return Err(TimeError::Timestamp),
            None => (text, 0),
        };
        let (date, clock) = text.split_once('T').ok_or(TimeError::Timestamp)?;
        let [year, month, day] = three(date, '-')?;
        let [hour, minute, second] = three(clock, ':')?;
        let (year, month) = (number(year, 1970, 9999)?, number(month, 1, 12)?);
        let (day, hour) = (number(day, 1, 31)?, number(hour, 0, 23)?);
        let (minute, second) = (number(minute, 0, 59)?, number(second, 0, 59)?);
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let days = shifted_year * 365 + leap_days + day_of_year - 719_468;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        let made = Self {
            unix_ms: seconds * 1_000 + ms,
        };
        // A day that its month does not have comes back as another date.
        if made.civil().day == day {
            Ok(made)
        } else {
            Err(TimeError::Timestamp)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Why a text is not a time; the caller's input is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// Not a whole number with one of the units.
    Duration,
    /// Not an RFC 3339 instant in UTC.
    Timestamp,
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => "not a duration: write a whole number and a unit, as \"150ms\", \"30s\", \"5m\" or \"1h\"",
            Self::Timestamp => "not an instant: write it as \"2017-08-13T07:27:58Z\"",
        })
    }
}

impl std::error::Error for TimeError {}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

fn three(text: &str, separator: char) -> Result<[&str; 3], TimeError> {
    let mut parts = text.split(separator);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(a), Some(b), Some(c), None) => Ok([a, b, c]),
        _ => Err(TimeError::Timestamp),
    }
}

fn number(text: &str, least: u64, most: u64) -> Result<u64, TimeError> {
    match text.parse() {
        Ok(value) if (least..=most).contains(&value) && text.len() >= 2 => Ok(value),
        _ => Err(TimeError::Timestamp),
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// 9999-12-31T23:59:59.999Z, so that a year always has four digits.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_the_largest_whole_unit_and_read_back() {
        for text in ["0ms", "150ms", "30s", "5m", "36h", "1500ms"] {
            let value = parse_duration(text).expect("the duration is well formed");
            assert_eq!(duration_text::format(value), text);
        }
    }

    #[test]
    fn a_duration_without_number_or_unit_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "1.5s",
            "-1s",
            "5d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), Err(TimeError::Duration), "{text:?}");
        }
    }

    #[test]
    fn instants_are_printed_as_rfc_3339_and_as_the_seed_does() {
        let instant = Timestamp::from_unix_ms(1_502_609_278_042);
        assert_eq!(instant.to_string(), "2017-08-13T07:27:58.042Z");
        assert_eq!(instant.shown(), "2017-Aug-13 07:27:58");
        assert_eq!(Timestamp::default().to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Timestamp::from_unix_ms(u64::MAX).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn every_day_of_a_century_survives_the_round_trip() {
        for day in 0..40_000 {
            let instant = Timestamp::from_unix_ms(day * 86_400_000 + 1);
            assert_eq!(instant.to_string().parse(), Ok(instant));
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in [
            "2017-02-29T00:00:00Z",
            "2017-13-01T00:00:00Z",
            "2017-01-01T24:00:00Z",
            "2017-01-01T00:00:00",
            "2017-01-01 00:00:00Z",
            "2017-1-1T00:00:00Z",
            "2017-01-01T00:00:00.1Z",
        ] {
            assert_eq!(
                text.parse::<Timestamp>(),
                Err(TimeError::Timestamp),
                "{text}"
            );
        }
        assert!("2016-02-29T00:00:00Z".parse::<Timestamp>().is_ok());
    }
}

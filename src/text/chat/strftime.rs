//! `strftime_now`: the date, for templates that tell it to the model. In UTC: the machine's time
//! zone should not change a prompt.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The time, in seconds since 1970.
pub(super) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A date of the Gregorian calendar.
struct Date {
    year: u64,
    /// 1 to 12.
    month: usize,
    /// 1 to 31.
    day: u64,
    /// 1 to 366.
    day_of_year: u64,
}

impl Date {
    /// The date `days` after 1 January 1970.
    fn new(mut days: u64) -> Date {
        // 146,097 days make 400 years, after which the calendar repeats.
        let mut year = 1970 + days / 146_097 * 400;
        days %= 146_097;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let day_of_year = days + 1;
        let mut month = 0;
        while days >= lengths[month] {
            days -= lengths[month];
            month += 1;
        }
        Date { year, month: month + 1, day: days + 1, day_of_year }
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The time `unix_s` by the common directives of strftime, in English; others stay as they are.
/// `%-d` and the like leave out leading zeros.
pub(super) fn format(pattern: &str, unix_s: u64) -> String {
    let mut output = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            output.push(c);
            continue;
        }
        let Some(mut directive) = chars.next() else {
            output.push('%');
            break;
        };
        let short = directive == '-';
        if short {
            directive = chars.next().unwrap_or('-');
        }
        match field(directive, unix_s) {
            Some(text) if short => {
                let digits = text.trim_start_matches(['0', ' ']);
                output.push_str(if digits.is_empty() { "0" } else { digits });
            }
            Some(text) => output.push_str(&text),
            None => output.extend(['%', directive]),
        }
    }
    output
}

fn field(directive: char, unix_s: u64) -> Option<String> {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let hour_of_12 = (hour + 11) % 12 + 1;
    let date = Date::new(days);
    let month = MONTHS[date.month - 1];
    let weekday = DAYS[((days + 4) % 7) as usize]; // 1 January 1970 was a Thursday
    Some(match directive {
        'Y' => date.year.to_string(),
        'y' => format!("{:02}", date.year % 100),
        'm' => format!("{:02}", date.month),
        'B' => month.to_string(),
        'b' | 'h' => month[..3].to_string(),
        'd' => format!("{:02}", date.day),
        'e' => format!("{:2}", date.day),
        'j' => format!("{:03}", date.day_of_year),
        'A' => weekday.to_string(),
        'a' => weekday[..3].to_string(),
        'H' => format!("{hour:02}"),
        'I' => format!("{hour_of_12:02}"),
        'M' => format!("{minute:02}"),
        'S' => format!("{second:02}"),
        'p' => if hour < 12 { "AM" } else { "PM" }.to_string(),
        'F' => format("%Y-%m-%d", unix_s),
        'T' => format("%H:%M:%S", unix_s),
        'D' => format("%m/%d/%y", unix_s),
        'R' => format("%H:%M", unix_s),
        'Z' => "UTC".to_string(),
        'z' => "+0000".to_string(),
        's' => unix_s.to_string(),
        'n' => "\n".to_string(),
        't' => "\t".to_string(),
        '%' => "%".to_string(),
        _ => return None,
    })
}

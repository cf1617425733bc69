use chrono::{Datelike, TimeZone, Timelike};
use proptest::prelude::*;

use super::*;

fn due(text: &str, from: &str, zone: Tz, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut at = DateTime::parse_from_rfc3339(from)
        .unwrap()
        .with_timezone(&Utc);
    let mut times = Vec::new();
    for _ in 0..count {
        at = schedule
            .next(at, zone)
            .unwrap_or_else(|| panic!("{text} ends"));
        times.push(at.with_timezone(&zone).format("%a %d %b %H:%M").to_string());
    }
    times
}

/// From Monday the 23rd of November 2026, noon, as robfig/cron v3.0.1 gives them.
#[test]
fn expressions_are_due_when_robfig_s_are() {
    for (text, expected) in [
        ("*/15 * * * *", "Mon 23 Nov 12:15, Mon 23 Nov 12:30"),
        ("0 0-23/2 * * *", "Mon 23 Nov 14:00, Mon 23 Nov 16:00"),
        (
            "10/20 * * * *",
            "Mon 23 Nov 12:10, Mon 23 Nov 12:30, Mon 23 Nov 12:50, Mon 23 Nov 13:10",
        ),
        (
            "5-40/10 * * * *",
            "Mon 23 Nov 12:05, Mon 23 Nov 12:15, Mon 23 Nov 12:25, Mon 23 Nov 12:35, Mon 23 Nov 13:05",
        ),
        ("5 4 * * sun", "Sun 29 Nov 04:05"),
        ("5 4 * * 0", "Sun 29 Nov 04:05"),
        ("5 4 * * 7", "Sun 29 Nov 04:05"),
        ("5 4 * * 1", "Mon 30 Nov 04:05"),
        (
            "0 3 * * 1-5",
            "Tue 24 Nov 03:00, Wed 25 Nov 03:00, Thu 26 Nov 03:00, Fri 27 Nov 03:00, Mon 30 Nov 03:00",
        ),
        ("0 3 * * Mon-FRI", "Tue 24 Nov 03:00"),
        (
            "0 0 1,15 * mon",
            "Mon 30 Nov 00:00, Tue 01 Dec 00:00, Mon 07 Dec 00:00",
        ),
        ("0 0 13 * 5", "Fri 27 Nov 00:00, Fri 04 Dec 00:00"),
        (
            "0 0 */2 * 1",
            "Wed 25 Nov 00:00, Fri 27 Nov 00:00, Sun 29 Nov 00:00, Mon 30 Nov 00:00",
        ),
        ("0 0 */1 * 1", "Mon 30 Nov 00:00, Mon 07 Dec 00:00"),
        (
            "0 4 * * mon/2",
            "Wed 25 Nov 04:00, Fri 27 Nov 04:00, Sun 29 Nov 04:00",
        ),
        ("*/90 * * * *", "Mon 23 Nov 13:00, Mon 23 Nov 14:00"),
        ("0 */24 * * *", "Tue 24 Nov 00:00, Wed 25 Nov 00:00"),
        ("*,5 * * * *", "Mon 23 Nov 12:01"),
        ("0 0 ? jan ?", "Fri 01 Jan 00:00"),
        ("@midnight", "Tue 24 Nov 00:00"),
        ("@Annually", "Fri 01 Jan 00:00"),
        ("@weekly", "Sun 29 Nov 00:00"),
        ("@every 1h30m", "Mon 23 Nov 13:30, Mon 23 Nov 15:00"),
        ("CRON_TZ=Asia/Tokyo 0 6 * * *", "Mon 23 Nov 21:00"),
        ("TZ=America/New_York 0 6 * * *", "Tue 24 Nov 11:00"),
        ("0 0 29 2 *", "Tue 29 Feb 00:00"),
    ] {
        let expected: Vec<&str> = expected.split(", ").collect();
        assert_eq!(
            due(text, "2026-11-23T12:00:00Z", Tz::UTC, expected.len()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_change_of_the_clock_leaves_times_out_and_has_some_twice() {
    let zone = Tz::America__New_York;
    // The 8th of March 2026 has no 02:30.
    assert_eq!(
        due("30 2 * * *", "2026-03-07T12:00:00Z", zone, 1),
        ["Mon 09 Mar 02:30"]
    );
    // The 1st of November 2026 has 01:00 to 02:00 twice.
    assert_eq!(
        due("30 1 * * *", "2026-11-01T04:00:00Z", zone, 3),
        ["Sun 01 Nov 01:30", "Sun 01 Nov 01:30", "Mon 02 Nov 01:30"]
    );
    assert_eq!(
        due("*/30 * * * *", "2026-11-01T04:45:00Z", zone, 5),
        [
            "Sun 01 Nov 01:00",
            "Sun 01 Nov 01:30",
            "Sun 01 Nov 01:00",
            "Sun 01 Nov 01:30",
            "Sun 01 Nov 02:00"
        ]
    );
}

#[test]
fn what_is_no_schedule_is_told_with_what_is_wrong() {
    for (text, told) in [
        ("", "0 fields"),
        (
            "* * * *",
            "4 fields: expected minute, hour, day, month and weekday",
        ),
        ("0 0 0 * * *", "there are no seconds"),
        ("75 * * * *", "minute: \"75\" is not from 0 to 59"),
        ("* 24 * * *", "hour: \"24\" is not from 0 to 23"),
        ("* * 0 * *", "day: \"0\" is not from 1 to 31"),
        ("* * * foo *", "month: \"foo\" is not from 1 to 12"),
        ("* * * * 8", "weekday: \"8\" is not from 0 to 7"),
        ("* * * * fri-sun", "begins after its end"),
        ("40-10 * * * *", "begins after its end"),
        ("*/0 * * * *", "\"0\" is no step"),
        (", * * * *", "names nothing"),
        ("0 0 L * *", "day: \"L\""),
        ("0 0 30 2 *", "never due"),
        ("0 0 31 4,6 *", "never due"),
        ("@noon", "the words are @yearly"),
        ("@every", "the words are @yearly"),
        ("@every 5", "is no duration"),
        ("@every 10ms", "from a second to a year"),
        ("TZ=Europe/Berln 0 0 * * *", "did you mean Europe/Berlin?"),
        ("TZ=UTC", "a zone stands before a schedule"),
    ] {
        let error = Schedule::parse(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(Schedule::every(Duration::ZERO).is_err());
    let hourly = Schedule::every(Duration::from_secs(3600)).unwrap();
    let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 7).unwrap();
    assert_eq!(
        hourly.next(start, Tz::UTC),
        Some(start + TimeDelta::hours(1))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text: String, near in "[0-9*/,\\-?a-z ]{0,24}") {
        let _ = Schedule::parse(&text);
        let _ = Schedule::parse(&near);
    }

    #[test]
    fn what_is_next_is_later_and_fits(
        minute in 0u32..60, hour in 0u32..24, weekday in 0u32..7,
        seconds in 0i64..4_000_000_000,
        zone in prop::sample::select(vec![Tz::UTC, Tz::Asia__Kolkata, Tz::America__New_York, Tz::Europe__Berlin]),
    ) {
        let schedule = Schedule::parse(&format!("{minute} {hour} * * {weekday}")).unwrap();
        let after = DateTime::from_timestamp(seconds, 0).unwrap();
        let next = schedule.next(after, zone).unwrap();
        prop_assert!(next > after);
        // A clock's change may leave one out.
        prop_assert!(next - after <= TimeDelta::days(15));
        let clock = next.with_timezone(&zone);
        prop_assert_eq!((clock.minute(), clock.hour(), clock.second()), (minute, hour, 0));
        prop_assert_eq!(clock.weekday().num_days_from_sunday(), weekday);
        let again = schedule.next(next, zone).unwrap();
        prop_assert!(again > next);
    }
}

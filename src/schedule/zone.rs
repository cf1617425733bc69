//! Time zones.

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::nearest::nearest;

/// The zone with this name.
pub(super) fn named(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let names = TZ_VARIANTS.iter().map(|zone| zone.name());
        let hint = match nearest(name, names) {
            Some(name) => format!(": did you mean {name}?"),
            None => ": expected a name like Europe/Berlin".to_owned(),
        };
        format!(
            "there is no time zone {:?}{hint}",
            name.chars().take(60).collect::<String>()
        )
    })
}

/// The local zone: that of the variable `TZ`, else the system's; UTC when it
/// cannot be told.
pub fn local_zone() -> Tz {
    let set = std::env::var("TZ").ok();
    let named = set.as_deref().map(|name| name.trim_start_matches(':'));
    let zone = match named {
        // Set and empty is UTC.
        Some("") => return Tz::UTC,
        Some(name) => name.parse().ok(),
        None => None,
    };
    zone.or_else(system).unwrap_or(Tz::UTC)
}

fn system() -> Option<Tz> {
    let link = std::fs::read_link("/etc/localtime").ok();
    let linked = link.as_ref().and_then(|path| {
        let (_, name) = path.to_str()?.split_once("zoneinfo/")?;
        name.parse().ok()
    });
    linked.or_else(|| {
        let name = std::fs::read_to_string("/etc/timezone").ok()?;
        name.trim().parse().ok()
    })
}

//! Lists of tags and referrers.

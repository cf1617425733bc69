//! Which repositories a root has.

use std::path::Path;

use rustix::fs::FileType;

use super::dir::Dir;
use super::directory::{is_marked, is_reserved};
use crate::oci::Repository;
use crate::store::{Page, StoreError};

/// Longest path below the root that is searched, in bytes. Names of
/// repositories are no longer than this.
const MAX_PATH: usize = 255;

/// The layouts at and below `root`, sorted. Links are not followed.
pub(super) fn repositories(root: &Path) -> Result<Page<Repository>, StoreError> {
    let mut page = Page {
        names: Vec::new(),
        refused: Vec::new(),
    };
    if let Some(dir) = Dir::open(root)? {
        if is_marked(&dir)? {
            page.names.push(Repository::unnamed());
        }
        descend(&dir, "", &mut page)?;
    }
    page.names.sort();
    page.refused.sort();
    Ok(page)
}

fn descend(dir: &Dir, prefix: &str, page: &mut Page<Repository>) -> Result<(), StoreError> {
    for entry in dir.entries()? {
        let part = entry.name.to_string_lossy();
        // Every fresh ext4 volume has a lost+found, which only root can read.
        if entry.kind != FileType::Directory || is_reserved(&part) || part == "lost+found" {
            continue;
        }
        let path = match prefix {
            "" => part.into_owned(),
            above => format!("{above}/{part}"),
        };
        if path.len() > MAX_PATH {
            continue;
        }
        let Some(child) = dir.child(&entry.name)? else {
            continue;
        };
        if is_marked(&child)? {
            match path.parse() {
                Ok(name) => page.names.push(name),
                Err(_) => page.refused.push(path.clone()),
            }
        }
        descend(&child, &path, page)?;
    }
    Ok(())
}

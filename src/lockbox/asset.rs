// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Asset`]: what a key protects, such as a range, a volume or a snapshot.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::Error;
use super::id::{KeyId, check_name};

/// Most attributes of one asset.
pub const MAX_ATTRIBUTES: usize = 64;
/// Longest attribute value, in bytes.
pub const MAX_VALUE: usize = 4096;

/// Something protected by a key. Several assets may name one key: a snapshot carries the key of
/// its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asset {
    /// Its name, chosen by the caller.
    pub id: String,
    /// The key that opens it.
    pub key_id: KeyId,
    /// What the caller wants to know about it: serial, model, device hint, range number, …
    pub attributes: BTreeMap<String, String>,
}

/// All assets of a lockbox. One altered row is refused and never hides the others.
#[derive(Debug, Default)]
pub struct Assets {
    /// Those whose rows are right, in the order of their ids.
    pub assets: Vec<Asset>,
    /// Why others are refused.
    pub refused: Vec<Error>,
}

impl Asset {
    pub(super) fn check(&self) -> Result<(), Error> {
        check_name("an asset id", &self.id)?;
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::Input(format!("an asset has at most {MAX_ATTRIBUTES} attributes")));
        }
        for (name, value) in &self.attributes {
            check_name("an attribute's name", name)?;
            if value.len() > MAX_VALUE {
                let text = format!("attribute {name} must have at most {MAX_VALUE} bytes");
                return Err(Error::Input(text));
            }
        }
        Ok(())
    }
}

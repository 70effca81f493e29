// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens: notes in the header. Ours, type `opalbox`, names the key that opens a keyslot, so that
//! tools and people can see who owns a volume. Other tools' are kept and never interpreted.

use serde_json::{Value, json};

use super::metadata::{IDS, Id, Metadata};
use super::{Luks2, Luks2Error, Storage};

/// The type of our token.
const TYPE: &str = "opalbox";

/// What our token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the key whose secret opens these keyslots.
    pub key_id: String,
    /// The keyslots.
    pub keyslots: Vec<u8>,
}

impl<S: Storage> Luks2<S> {
    /// Who owns the volume by its token, if there is one that can be read. Nothing authenticates
    /// this: it says which key to try, not whether to trust the header.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.metadata().tokens.values().find_map(read)
    }

    /// Writes the token, in place of one that is there.
    ///
    /// # Errors
    /// [`Luks2Error::NoSuchKeyslot`], [`Luks2Error::Parameter`] for a name that is empty, longer
    /// than 128 bytes or not printable ASCII, [`Luks2Error::MetadataFull`], [`Luks2Error::Io`].
    pub fn set_owner(&mut self, owner: &Owner) -> Result<(), Luks2Error> {
        let graphic = owner.key_id.bytes().all(|it| it.is_ascii_graphic());
        if !graphic || !(1..=128).contains(&owner.key_id.len()) {
            return Err(Luks2Error::Parameter(
                "a key name has 1 to 128 printable ASCII characters and no spaces",
            ));
        }
        let mut metadata = self.metadata().clone();
        for number in &owner.keyslots {
            if !metadata.keyslots.contains_key(&Id(*number)) {
                return Err(Luks2Error::NoSuchKeyslot(*number));
            }
        }
        metadata.tokens.retain(|_, it| !is_ours(it));
        let mut free = (0..IDS).map(Id).filter(|it| !metadata.tokens.contains_key(it));
        let id = free.next().ok_or(Luks2Error::NoRoom)?;
        let keyslots: Vec<String> = owner.keyslots.iter().map(u8::to_string).collect();
        let token = json!({ "type": TYPE, "keyslots": keyslots, "key_id": owner.key_id });
        metadata.tokens.insert(id, token);
        self.commit(metadata)
    }
}

/// Takes a keyslot that is gone out of every token; ours goes with its last one.
pub(super) fn forget_keyslot(metadata: &mut Metadata, id: Id) {
    let name = id.0.to_string();
    for token in metadata.tokens.values_mut() {
        if let Some(Value::Array(keyslots)) = token.get_mut("keyslots") {
            keyslots.retain(|it| it.as_str() != Some(&name));
        }
    }
    metadata.tokens.retain(|_, token| {
        let empty = token.get("keyslots").and_then(Value::as_array).is_none_or(Vec::is_empty);
        !(is_ours(token) && empty)
    });
}

fn is_ours(token: &Value) -> bool {
    token.get("type").and_then(Value::as_str) == Some(TYPE)
}

fn read(token: &Value) -> Option<Owner> {
    if !is_ours(token) {
        return None;
    }
    let keyslots = token.get("keyslots")?.as_array()?;
    Some(Owner {
        key_id: token.get("key_id")?.as_str()?.to_owned(),
        keyslots: keyslots.iter().filter_map(|it| it.as_str()?.parse().ok()).collect(),
    })
}

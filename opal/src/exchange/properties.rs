// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties: what each side can take (Core 2.01 §5.2.2).

use alloc::string::String;
use alloc::vec::Vec;

use super::method::conversation;
use super::start_session::control_call;
use super::{ComId, Exchange, SessionNumbers, request};
use crate::spec::method::PROPERTIES;
use crate::wire::Reader;
use crate::wire::reader::{Name, ParseError};
use crate::wire::token::Token;

/// Asks for the drive's properties and, with `host`, tells it the host's.
#[must_use]
pub fn properties(com_id: ComId, host: Option<&[(&str, u64)]>) -> Exchange<Properties> {
    conversation(com_id, SessionNumbers::CONTROL, request::properties(host), |tokens| {
        let call = control_call("Properties", tokens, PROPERTIES)?;
        Ok(Properties::parse(call.parameters)?)
    })
}

/// Names and values a drive reported. Order and set of names differ between drives (quirk B16),
/// so look them up by name and default what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The drive's own properties, in its order.
    pub drive: Vec<(String, u64)>,
    /// The host's properties as the drive has taken them, if it says so.
    pub host: Vec<(String, u64)>,
}

impl Properties {
    /// A property of the drive.
    #[must_use]
    pub fn of_drive(&self, name: &str) -> Option<u64> {
        find(&self.drive, name)
    }

    /// A property of the host as the drive took it.
    #[must_use]
    pub fn of_host(&self, name: &str) -> Option<u64> {
        find(&self.host, name)
    }

    fn parse(mut parameters: Reader<'_>) -> Result<Self, ParseError> {
        let drive = list(&mut parameters)?;
        let mut host = Vec::new();
        while let Some(name) = parameters.start_name()? {
            if name == Name::Number(0) {
                host = list(&mut parameters)?;
            } else {
                parameters.value()?;
            }
            parameters.end_name()?;
        }
        Ok(Self { drive, host })
    }
}

fn find(list: &[(String, u64)], name: &str) -> Option<u64> {
    list.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// A list of properties. Values that are no integers are skipped.
fn list(reader: &mut Reader<'_>) -> Result<Vec<(String, u64)>, ParseError> {
    let mut properties = Vec::new();
    reader.start_list()?;
    while !reader.accept(Token::EndList)? {
        let offset = reader.offset();
        let name = reader
            .start_name()?
            .ok_or(ParseError::Value { offset, what: "a property without a name" })?;
        let value = reader.value()?.uint();
        reader.end_name()?;
        if let (Name::Text(name), Ok(value)) = (name, value) {
            properties.push((String::from_utf8_lossy(name).into_owned(), value));
        }
    }
    Ok(properties)
}

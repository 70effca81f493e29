// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties: what both sides can receive (Core 2.01 §5.2.2, table 168; Opal 2.30 table 17).

use alloc::vec::Vec;

use super::cell::wrong;
use super::profile::{Limits, Profile, Quirk, Ssc};
use crate::wire::packet::{COM_PACKET_HEADER, PACKET_HEADER, SUB_PACKET_HEADER};
use crate::wire::{Encoder, Name, Reader, Status, Token};

/// What a host can receive, per ComID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostProperties {
    pub(super) values: [u64; HOST.len()],
}

/// Host properties this TPer knows, in the order it names them, and their initial values, which
/// are their minimums too.
const HOST: [(&str, u64); 6] = [
    ("MaxComPacketSize", 2048),
    ("MaxPacketSize", 2028),
    ("MaxIndTokenSize", 1992),
    ("MaxPackets", 1),
    ("MaxSubpackets", 1),
    ("MaxMethods", 1),
];

/// What Enterprise takes for granted instead (Enterprise 1.01 §4).
const ENTERPRISE_HOST: [u64; HOST.len()] = [1024, 1004, 968, 1, 1, 1];

/// What the host called its list of properties: the answer calls it the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListName {
    Number,
    Text,
}

/// Name of the list where names are text.
const HOST_PROPERTIES: &[u8] = b"HostProperties";

impl HostProperties {
    /// Before the host has said anything.
    pub(super) fn initial(ssc: Ssc) -> Self {
        let values =
            if ssc.is_enterprise() { ENTERPRISE_HOST } else { HOST.map(|(_, initial)| initial) };
        Self { values }
    }

    const fn max_com_packet(&self) -> u64 {
        self.values[0]
    }
    const fn max_packet(&self) -> u64 {
        self.values[1]
    }
    /// Largest token the host takes, header included.
    pub(super) const fn max_token(&self) -> u64 {
        self.values[2]
    }

    /// Bytes of tokens that an answer to this host may have.
    pub(super) fn max_answer(&self, limits: &Limits) -> usize {
        let com = self.max_com_packet().min(u64::from(limits.max_response_com_packet));
        let packet = self.max_packet().min(com.saturating_sub(COM_PACKET_HEADER as u64));
        let tokens = packet.saturating_sub((PACKET_HEADER + SUB_PACKET_HEADER) as u64) & !3;
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }
}

/// Reads the call's parameters into `host`. Says what the host properties were called, if they were
/// there at all. Enterprise takes either name: hosts that know Opal only send the number.
pub(super) fn receive(
    host: &mut HostProperties,
    ssc: Ssc,
    parameters: &mut Reader<'_>,
) -> Result<Option<ListName>, Status> {
    let mut given = None;
    let mut values = host.values;
    let minimums = HostProperties::initial(ssc).values;
    while !wrong(parameters.at_end())? {
        let name = match wrong(parameters.start_name())? {
            Some(Name::Number(0)) => ListName::Number,
            Some(Name::Text(HOST_PROPERTIES)) if ssc.is_enterprise() => ListName::Text,
            _ => return Err(Status::INVALID_PARAMETER),
        };
        if given.replace(name).is_some() {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut list = wrong(parameters.value())?;
        wrong(parameters.end_name())?;
        wrong(list.start_list())?;
        while !wrong(list.accept(Token::EndList))? {
            let Some(Name::Text(text)) = wrong(list.start_name())? else {
                return Err(Status::INVALID_PARAMETER);
            };
            let value = wrong(list.uint())?;
            wrong(list.end_name())?;
            let mut known = HOST.iter().zip(minimums).zip(&mut values);
            let known = known.find(|(((name, _), _), _)| name.as_bytes() == text);
            if let Some(((_, minimum), slot)) = known {
                *slot = value.max(minimum);
            }
        }
    }
    host.values = values;
    Ok(given)
}

/// Writes the answer's parameters. `MaxComPacketSize` comes before `MaxIndTokenSize`: some hosts
/// look for them in that order.
pub(super) fn write(
    profile: &Profile,
    host: Option<(ListName, &HostProperties)>,
    out: &mut Encoder,
) {
    let quirks = &profile.quirks;
    let mut properties = announced(&profile.limits);
    if quirks.has(Quirk::MissingProperties) {
        let named = ["MaxComPacketSize", "MaxPacketSize", "MaxIndTokenSize"];
        properties.retain(|(name, _)| named.contains(name));
    }
    if quirks.has(Quirk::ExtraProperties) {
        let extra = ["ContinuedTokens", "SequenceNumbers", "AckNak", "Asynchronous"];
        properties.extend(extra.map(|name| (name, 0)));
    }
    if quirks.has(Quirk::ReversedProperties) {
        properties.reverse();
    }
    out.list(|t| {
        for (name, value) in properties {
            property(t, name, u64::from(value));
        }
    });
    if quirks.has(Quirk::MissingProperties) {
        return;
    }
    if let Some((name, host)) = host {
        let list = |t: &mut Encoder| {
            t.list(|t| {
                for ((name, _), value) in HOST.iter().zip(host.values) {
                    property(t, name, value);
                }
                if quirks.has(Quirk::ExtraProperties) {
                    property(t, "MaxResponseComPacketSize", 2048);
                }
            });
        };
        match name {
            ListName::Number => out.named(0, list),
            ListName::Text => out.named_bytes(HOST_PROPERTIES, list),
        };
    }
}

/// What the TPer says of itself, in its usual order.
fn announced(limits: &Limits) -> Vec<(&'static str, u32)> {
    let mut properties = Vec::from([
        ("MaxComPacketSize", limits.max_com_packet),
        ("MaxResponseComPacketSize", limits.max_response_com_packet),
        ("MaxPacketSize", limits.max_packet()),
        ("MaxIndTokenSize", limits.max_token()),
        ("MaxPackets", 1),
        ("MaxSubpackets", 1),
        ("MaxMethods", limits.max_methods),
        ("MaxSessions", limits.max_sessions),
    ]);
    if limits.max_read_sessions != 0 {
        properties.push(("MaxReadSessions", limits.max_read_sessions));
    }
    properties.push(("MaxAuthentications", limits.max_authentications));
    properties.push(("MaxTransactionLimit", 1));
    properties.push(("DefSessionTimeout", limits.default_session_timeout));
    for (name, value) in [
        ("MaxSessionTimeout", limits.max_session_timeout),
        ("MinSessionTimeout", limits.min_session_timeout),
    ] {
        if value != 0 {
            properties.push((name, value));
        }
    }
    properties
}

fn property(out: &mut Encoder, name: &str, value: u64) {
    out.named_bytes(name.as_bytes(), |t| {
        t.uint(value);
    });
}

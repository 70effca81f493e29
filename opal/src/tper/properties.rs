// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties: what both sides can receive (Core 2.01 §5.2.2, table 168; Opal 2.30 table 17).

use super::cell::wrong;
use super::profile::{Limits, Profile};
use super::sessions::optional;
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

impl Default for HostProperties {
    fn default() -> Self {
        Self { values: HOST.map(|(_, initial)| initial) }
    }
}

impl HostProperties {
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

/// Reads the call's parameters into `host`. Says whether host properties were there at all.
pub(super) fn receive(
    host: &mut HostProperties,
    parameters: &mut Reader<'_>,
) -> Result<bool, Status> {
    let mut last = None;
    let mut given = false;
    let mut values = host.values;
    while let Some((name, mut list)) = optional(parameters, &mut last)? {
        if name != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        given = true;
        wrong(list.start_list())?;
        while !wrong(list.accept(Token::EndList))? {
            let Some(Name::Text(text)) = wrong(list.start_name())? else {
                return Err(Status::INVALID_PARAMETER);
            };
            let value = wrong(list.uint())?;
            wrong(list.end_name())?;
            let known = HOST.iter().zip(&mut values).find(|((n, _), _)| n.as_bytes() == text);
            if let Some(((_, minimum), slot)) = known {
                *slot = value.max(*minimum);
            }
        }
    }
    host.values = values;
    Ok(given)
}

/// Writes the answer's parameters. `MaxComPacketSize` comes before `MaxIndTokenSize`: some hosts
/// look for them in that order.
pub(super) fn write(profile: &Profile, host: Option<&HostProperties>, out: &mut Encoder) {
    let limits = &profile.limits;
    out.list(|t| {
        let always = [
            ("MaxComPacketSize", limits.max_com_packet),
            ("MaxResponseComPacketSize", limits.max_response_com_packet),
            ("MaxPacketSize", limits.max_packet()),
            ("MaxIndTokenSize", limits.max_token()),
            ("MaxPackets", 1),
            ("MaxSubpackets", 1),
            ("MaxMethods", limits.max_methods),
            ("MaxSessions", limits.max_sessions),
        ];
        for (name, value) in always {
            property(t, name, u64::from(value));
        }
        if limits.max_read_sessions != 0 {
            property(t, "MaxReadSessions", u64::from(limits.max_read_sessions));
        }
        property(t, "MaxAuthentications", u64::from(limits.max_authentications));
        property(t, "MaxTransactionLimit", 1);
        property(t, "DefSessionTimeout", u64::from(limits.default_session_timeout));
        for (name, value) in [
            ("MaxSessionTimeout", limits.max_session_timeout),
            ("MinSessionTimeout", limits.min_session_timeout),
        ] {
            if value != 0 {
                property(t, name, u64::from(value));
            }
        }
    });
    if let Some(host) = host {
        out.named(0, |t| {
            t.list(|t| {
                for ((name, _), value) in HOST.iter().zip(host.values) {
                    property(t, name, value);
                }
            });
        });
    }
}

fn property(out: &mut Encoder, name: &str, value: u64) {
    out.named_bytes(name.as_bytes(), |t| {
        t.uint(value);
    });
}

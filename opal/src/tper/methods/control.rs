// SPDX-License-Identifier: MIT OR Apache-2.0
//! Methods of the control session: Properties, StartSession (Core 2.01 §5.2).

use alloc::vec::Vec;
use zeroize::Zeroizing;

use crate::spec::{method, sp};
use crate::tper::dispatch::Found;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::properties;
use crate::tper::sessions::StartSession;
use crate::wire::{Reader, Status, call};

/// Runs a call and returns its answer, which is empty for calls that are ignored: of another object
/// than the session manager, or of an unknown method.
pub(in crate::tper) fn call<P: Platform>(
    machine: &mut Machine<'_, P>,
    channel: usize,
    found: Found<'_>,
) -> Zeroizing<Vec<u8>> {
    let mut parameters = found.parameters;
    match found.names {
        Some((sp::SESSION_MANAGER, method::PROPERTIES)) => {
            properties(machine, channel, found.status, &mut parameters)
        }
        Some((sp::SESSION_MANAGER, method::START_SESSION)) => {
            start_session(machine, channel, found.status, &mut parameters)
        }
        _ => Zeroizing::default(),
    }
}

fn properties<P: Platform>(
    machine: &mut Machine<'_, P>,
    channel: usize,
    called_off: Status,
    parameters: &mut Reader<'_>,
) -> Zeroizing<Vec<u8>> {
    let Some(channel) = machine.inner.channels.get_mut(channel) else {
        return Zeroizing::default();
    };
    let given = if called_off.is_success() {
        properties::receive(&mut channel.host, machine.profile.ssc, parameters)
    } else {
        Err(called_off)
    };
    match given {
        Ok(given) => call::control_answer(method::PROPERTIES, Status::SUCCESS, |t| {
            properties::write(machine.profile, given.map(|name| (name, &channel.host)), t);
        }),
        Err(status) => call::control_answer(method::PROPERTIES, status, |_| {}),
    }
}

fn start_session<P: Platform>(
    machine: &mut Machine<'_, P>,
    channel: usize,
    called_off: Status,
    parameters: &mut Reader<'_>,
) -> Zeroizing<Vec<u8>> {
    // Without the host's number there is nobody to answer to.
    let Ok(host_session) = parameters.uint_as::<u32>() else { return Zeroizing::default() };
    let opened = if called_off.is_success() {
        let enterprise = machine.profile.ssc.is_enterprise();
        StartSession::parse(host_session, parameters, enterprise)
            .and_then(|start| machine.start_session(channel, &start))
    } else {
        Err(called_off)
    };
    let (tsn, status) = match opened {
        Ok(tsn) => (tsn, Status::SUCCESS),
        Err(status) => (0, status),
    };
    call::control_answer(method::SYNC_SESSION, status, |t| {
        t.uint(u64::from(host_session)).uint(u64::from(tsn));
    })
}

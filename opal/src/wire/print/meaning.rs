// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives token trees their meaning and takes secrets out of them, in one step: a value reaches
//! [`Value`] only through a context that says what may be shown.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::model::{Label, Value};
use super::tree::Node;
use crate::Uid;
use crate::spec::method as m;
use crate::spec::name::{self, Enumeration, Kind};
use crate::spec::table;
use crate::wire::reader::Name;

/// What may be shown, and what numbers mean.
#[derive(Clone, Copy)]
enum Context {
    /// Nothing.
    Secret,
    /// UIDs and names that are known.
    Strict,
    /// Strings of the length of UIDs, and known names: the rule for answers to nobody knows what.
    Guarded,
    /// Communication properties: names are text.
    Properties,
    /// A cell block on a table.
    Cellblock(u32),
    /// Cells of a row of a table.
    Row(u32),
    /// A cell.
    Cell(Kind),
    /// A boolean result.
    Boolean,
}

/// Parameters of a call.
pub(super) fn parameters(
    invoking: Option<Uid>,
    method: Option<Uid>,
    nodes: &[Node<'_>],
) -> Vec<Value> {
    let (Some(invoking), Some(method)) = (invoking, method) else {
        return values(nodes, Context::Strict);
    };
    let mut position = 0;
    nodes
        .iter()
        .map(|node| {
            if let Node::Named { items } = node {
                return named(items, |name| {
                    let parameter = name::parameter(method, name);
                    let label = parameter.map(|p| p.name);
                    let context = match parameter {
                        Some(p) if p.secret => Context::Secret,
                        Some(p) => parameter_context(invoking, method, p.name),
                        None => Context::Strict,
                    };
                    (label, context)
                });
            }
            let parameter = name::positional(method, position);
            position += 1;
            match parameter {
                Some(p) => Value::Named {
                    label: Label::Positional(p.name),
                    value: Some(Box::new(value(node, parameter_context(invoking, method, p.name)))),
                },
                None => value(node, Context::Strict),
            }
        })
        .collect()
}

fn parameter_context(invoking: Uid, method: Uid, name: &str) -> Context {
    match name {
        "TPerProperties" | "HostProperties" => Context::Properties,
        "Cellblock" => Context::Cellblock(invoking.table()),
        "Where" if method == m::ENTERPRISE_SET => Context::Cellblock(invoking.table()),
        "Values" => cells(invoking.table()),
        "Write" | "KeepGlobalRangeKey" => Context::Boolean,
        _ => Context::Guarded,
    }
}

/// Results of an answer; `to` is the call it answers.
pub(super) fn results(to: Option<(Uid, Uid)>, nodes: &[Node<'_>]) -> Vec<Value> {
    let context = match to {
        None => Context::Guarded,
        Some((invoking, method)) => match method {
            m::GET | m::ENTERPRISE_GET => cells(invoking.table()),
            m::RANDOM => Context::Secret,
            m::AUTHENTICATE | m::ENTERPRISE_AUTHENTICATE | m::ENTERPRISE_SET => Context::Boolean,
            m::NEXT | m::GET_ACL => Context::Guarded,
            _ => Context::Strict,
        },
    };
    values(nodes, context)
}

/// Tokens of nobody knows what.
pub(super) fn loose(nodes: &[Node<'_>]) -> Vec<Value> {
    values(nodes, Context::Guarded)
}

/// Cells of an object table, or the content of a byte table, which is somebody's data.
fn cells(table: u32) -> Context {
    if name::has_columns(table) { Context::Row(table) } else { Context::Secret }
}

/// Values that stand beside each other. Where nobody says what they are, a long run of one-byte
/// numbers is hidden: damage to a byte string's length makes one out of a PIN.
fn values(nodes: &[Node<'_>], context: Context) -> Vec<Value> {
    let mut out: Vec<_> = nodes.iter().map(|node| value(node, context)).collect();
    if matches!(context, Context::Strict | Context::Guarded) {
        let is_tiny = |node: &Node<'_>| matches!(node, Node::Uint(0..=63) | Node::Int(-32..=31));
        let mut start = 0;
        for run in nodes.chunk_by(|a, b| is_tiny(a) == is_tiny(b)) {
            if run.len() >= LONG_RUN && run.first().is_some_and(is_tiny) {
                out.iter_mut().skip(start).take(run.len()).for_each(|v| *v = Value::HiddenNumber);
            }
            start += run.len();
        }
    }
    out
}

fn value(node: &Node<'_>, context: Context) -> Value {
    match node {
        Node::Uint(number) => uint(*number, context),
        // No column or parameter is signed: what reads as such may be the inside of a byte string.
        Node::Int(number) => match context {
            Context::Cell(Kind::Number) | Context::Properties => Value::Int(*number),
            _ => Value::HiddenNumber,
        },
        Node::Bytes(bytes) => byte_string(bytes, context),
        Node::Fragment(bytes) => Value::Hidden { length: bytes.len() },
        Node::Cut { present, missing, is_bytes } => Value::Cut {
            shown: Some(*present)
                .filter(|_| *is_bytes && matches!(context, Context::Properties))
                .filter(|text| name::begins_property(text))
                .and_then(printable),
            present: present.len(),
            missing: *missing,
        },
        Node::List { items, closed } => {
            Value::List { items: values(items, element(context)), closed: *closed }
        }
        Node::Named { items } => named(items, |name| member(name, context)),
        Node::Control(token) => Value::Control(token.kind()),
    }
}

/// The context of a list's elements.
fn element(context: Context) -> Context {
    match context {
        Context::Cell(Kind::Set(enumeration)) => Context::Cell(Kind::Enumeration(enumeration)),
        Context::Cell(Kind::Names) => Context::Cell(Kind::Name),
        Context::Boolean => Context::Strict,
        context => context,
    }
}

/// What a name inside a list or struct stands for, and the context of its value.
fn member(name: Name<'_>, context: Context) -> (Option<&'static str>, Context) {
    match context {
        Context::Row(table) => {
            let column = match name {
                Name::Number(number) => name::column(table, number),
                Name::Text(text) => name::column_by_text(table, text),
            };
            match column {
                // A PIN written to the wrong column must not show either.
                Some(column) if holds_credentials(table) && column.kind == Kind::Name => {
                    (Some(column.name), Context::Strict)
                }
                Some(column) => (Some(column.name), Context::Cell(column.kind)),
                None if holds_credentials(table) => (None, Context::Secret),
                None => (None, Context::Guarded),
            }
        }
        Context::Cellblock(table) => match name {
            Name::Number(0) => (Some("Table"), Context::Guarded),
            Name::Number(1) => (Some("startRow"), Context::Guarded),
            Name::Number(2) => (Some("endRow"), Context::Guarded),
            Name::Number(3) => (Some("startColumn"), Context::Cellblock(table)),
            Name::Number(4) => (Some("endColumn"), Context::Cellblock(table)),
            Name::Number(_) => (None, Context::Guarded),
            Name::Text(_) => {
                let label = name::parameter(m::ENTERPRISE_GET, name).map(|p| p.name);
                match label {
                    Some("startColumn" | "endColumn") => (label, Context::Cellblock(table)),
                    _ => (label, Context::Guarded),
                }
            }
        },
        // Alternatives of an ACE's expression: the operator is a number with a name.
        Context::Cell(Kind::List) | Context::Guarded | Context::Strict => match name {
            Name::Text([0, 0, 4, 0x0E]) => {
                (None, Context::Cell(Kind::Enumeration(Enumeration::BooleanAce)))
            }
            _ => (None, context),
        },
        context => (None, context),
    }
}

fn named<'a>(
    items: &[Node<'a>],
    meaning: impl FnOnce(Name<'a>) -> (Option<&'static str>, Context),
) -> Value {
    let Some((first, rest)) = items.split_first() else {
        return Value::Named { label: Label::Absent, value: None };
    };
    let (label, context) = match first {
        Node::Uint(number) => {
            let (name, context) = meaning(Name::Number(*number));
            (Label::Number(*number, name), context)
        }
        Node::Bytes(text) => {
            let (name, context) = meaning(Name::Text(text));
            (text_label(text, name, context), context)
        }
        Node::Cut { present, missing, is_bytes: true } => {
            let shown = printable(present).filter(|_| name::begins_property(present));
            let cut = Value::Cut { shown, present: present.len(), missing: *missing };
            return Value::Named { label: Label::Absent, value: Some(Box::new(cut)) };
        }
        _ => (Label::Absent, Context::Strict),
    };
    let value = match rest {
        [] => None,
        [one] => Some(Box::new(value(one, context))),
        // Not well-formed, but nothing is lost: all that stands there, under the same rule.
        more => Some(Box::new(Value::List { items: values(more, context), closed: false })),
    };
    Value::Named { label, value }
}

fn text_label(text: &[u8], known: Option<&'static str>, context: Context) -> Label {
    if let Ok(half) = <[u8; 4]>::try_from(text) {
        if half[0] == 0 {
            return Label::Selector(u32::from_be_bytes(half));
        }
    }
    if let Some(name) = known.or_else(|| known_name(text)) {
        return Label::Text(name.into());
    }
    match context {
        // Inside properties every name is public, whatever vendors add.
        Context::Properties if looks_like_property(text) => {
            printable(text).map_or(Label::Hidden(text.len()), Label::Text)
        }
        _ => Label::Hidden(text.len()),
    }
}

fn uint(number: u64, context: Context) -> Value {
    let meaning = match context {
        context if hides_numbers(context) => return Value::HiddenNumber,
        // An eight-byte PIN with a damaged header; sizes and counts are smaller.
        Context::Strict if number > u64::from(u32::MAX) => return Value::HiddenNumber,
        Context::Cell(Kind::Enumeration(enumeration)) => name::value(enumeration, number),
        Context::Boolean | Context::Cell(Kind::Boolean) => match number {
            0 => Some("False"),
            1 => Some("True"),
            _ => None,
        },
        Context::Cellblock(table) => name::column(table, number).map(|column| column.name),
        _ => None,
    };
    Value::Uint(number, meaning)
}

fn hides_numbers(context: Context) -> bool {
    match context {
        Context::Secret | Context::Cell(Kind::Secret) => true,
        // A number beside the cells of a PIN row is its checksum (Enterprise ParamCheck).
        Context::Row(table) => holds_credentials(table),
        _ => false,
    }
}

fn byte_string(bytes: &[u8], context: Context) -> Value {
    let hidden = Value::Hidden { length: bytes.len() };
    match context {
        Context::Secret | Context::Boolean | Context::Cell(Kind::Secret) => hidden,
        Context::Row(table) if holds_credentials(table) => hidden,
        Context::Strict => match Uid::from_bytes(bytes) {
            Some(uid) if name::uid(uid).is_some() => Value::Uid(uid),
            _ => known_name(bytes).map_or(hidden, |name| Value::Text(name.into())),
        },
        Context::Cell(Kind::Name) => {
            printable(bytes).filter(|_| bytes.len() <= NAME_MAX).map_or(hidden, Value::Text)
        }
        Context::Cell(Kind::Bytes) if bytes.len() <= SHORT => Value::Hex(bytes.to_vec()),
        Context::Cellblock(table) => match name::column_by_text(table, bytes) {
            Some(column) => Value::Text(column.name.into()),
            None => guarded(bytes),
        },
        _ => guarded(bytes),
    }
}

/// Shows what has the length and shape of a UID, and names that are known; nothing else.
fn guarded(bytes: &[u8]) -> Value {
    if let Some(uid) = Uid::from_bytes(bytes) {
        // UIDs of every specification begin with a zero byte; typed PINs of eight characters do
        // not.
        if bytes.first() == Some(&0) {
            return Value::Uid(uid);
        }
    }
    if let Ok(half @ [0, ..]) = <[u8; 4]>::try_from(bytes) {
        return Value::HalfUid(u32::from_be_bytes(half));
    }
    match known_name(bytes) {
        Some(name) => Value::Text(name.into()),
        None => Value::Hidden { length: bytes.len() },
    }
}

/// One-byte numbers beside each other that make a run: sets and column lists are shorter.
const LONG_RUN: usize = 6;
/// Longest value of the type name.
const NAME_MAX: usize = 32;
/// Longest byte string of a cell that is shown: GUDID has 12.
const SHORT: usize = 16;

/// C_PIN, the other credential tables, and media keys.
fn holds_credentials(table: u32) -> bool {
    matches!(table, 0x000A..=0x001C | table::K_AES_128 | table::K_AES_256)
}

/// Names that are no secret wherever they stand: of properties, parameters, and Enterprise columns.
fn known_name(text: &[u8]) -> Option<&'static str> {
    name::property(text)
        .or_else(|| name::parameter(m::ENTERPRISE_GET, Name::Text(text)).map(|p| p.name))
        .or_else(|| {
            [table::LOCKING, table::C_PIN, table::AUTHORITY, table::LOCKING_INFO, table::ACE]
                .iter()
                .find_map(|table| name::column_by_text(*table, text))
                .map(|column| column.name)
        })
}

/// Property names are letters, as long as the longest one known and a bit.
fn looks_like_property(text: &[u8]) -> bool {
    text.len() <= NAME_MAX && text.iter().all(u8::is_ascii_alphabetic)
}

fn printable(bytes: &[u8]) -> Option<String> {
    if !bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        return None;
    }
    core::str::from_utf8(bytes).ok().map(String::from)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens as a tree, as far as they go: whatever the bytes are, what could be read stays and what
//! stopped the reading is told.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::reader::MAX_DEPTH;
use crate::wire::token::{Token, TokenErrorKind, Tokens};

/// One value, or a control token that is none.
pub(super) enum Node<'a> {
    Uint(u64),
    Int(i64),
    Bytes(&'a [u8]),
    /// A fragment of a byte string with more to follow.
    Fragment(&'a [u8]),
    /// The last token, cut by the end of the data.
    Cut {
        present: &'a [u8],
        missing: usize,
        is_bytes: bool,
    },
    List {
        items: Vec<Node<'a>>,
        closed: bool,
    },
    /// A named value: name first, then what stands behind it.
    Named {
        items: Vec<Node<'a>>,
    },
    Control(Token<'a>),
}

/// What was read, and why no more.
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) problem: Option<String>,
}

struct Frame<'a> {
    is_list: bool,
    items: Vec<Node<'a>>,
}

impl<'a> Frame<'a> {
    fn close(self, closed: bool) -> Node<'a> {
        if self.is_list {
            Node::List { items: self.items, closed }
        } else {
            Node::Named { items: self.items }
        }
    }
}

/// Reads tokens until something stops it; takes at most `budget` of them. In a fragment lists may
/// end that began before it.
pub(super) fn read<'a>(data: &'a [u8], budget: &mut usize, fragment: bool) -> Tree<'a> {
    let mut nodes = Vec::new();
    let mut open: Vec<Frame<'a>> = Vec::new();
    let mut problem = None;
    for item in Tokens::new(data) {
        if *budget == 0 {
            problem = Some(String::from("too many tokens to show; the rest is left out"));
            break;
        }
        *budget -= 1;
        let (offset, token) = match item {
            Ok(spanned) => (spanned.offset, spanned.token),
            Err(error) => {
                if let TokenErrorKind::Truncated { missing } = error.kind {
                    let rest = data.get(error.offset..).unwrap_or_default();
                    add(&mut nodes, &mut open, cut(rest, missing));
                }
                problem = Some(format!("token {error}"));
                break;
            }
        };
        let node = match token {
            Token::Uint(value) => Node::Uint(value),
            Token::Int(value) => Node::Int(value),
            Token::Bytes(bytes) => Node::Bytes(bytes),
            Token::Continued(bytes) => Node::Fragment(bytes),
            Token::StartList | Token::StartName => {
                if open.len() >= MAX_DEPTH {
                    problem = Some(format!("token offset {offset}: lists nested too deeply"));
                    break;
                }
                open.push(Frame { is_list: token == Token::StartList, items: Vec::new() });
                continue;
            }
            Token::EndList | Token::EndName => match open.pop() {
                Some(frame) if frame.is_list == (token == Token::EndList) => frame.close(true),
                None if fragment => Node::Control(token),
                frame => {
                    problem = Some(format!("token offset {offset}: {} out of place", token.kind()));
                    open.extend(frame);
                    break;
                }
            },
            control => Node::Control(control),
        };
        add(&mut nodes, &mut open, node);
    }
    if problem.is_none() && !open.is_empty() {
        problem = Some(format!("truncated: {} lists or names do not end", open.len()));
    }
    while let Some(frame) = open.pop() {
        add(&mut nodes, &mut open, frame.close(false));
    }
    Tree { nodes, problem }
}

fn add<'a>(nodes: &mut Vec<Node<'a>>, open: &mut [Frame<'a>], node: Node<'a>) {
    open.last_mut().map_or(nodes, |frame| &mut frame.items).push(node);
}

/// What is there of a token that the data's end cuts.
fn cut(rest: &[u8], missing: usize) -> Node<'_> {
    let header = match rest.first() {
        Some(0x80..=0xBF) => 1,
        Some(0xC0..=0xDF) => 2,
        _ => 4,
    };
    let is_bytes = matches!(rest.first(), Some(0xA0..=0xBF | 0xD0..=0xDF | 0xE2..=0xE3));
    Node::Cut { present: rest.get(header..).unwrap_or_default(), missing, is_bytes }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Status`]: the code in a method's status list (Core 2.01 §5.1.5).

use core::fmt;

/// Status of a method. Any value survives; unknown ones print as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The specification's name, if the code has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    SUCCESS = 0x00;
    /// No access control row, no satisfied ACE, or a wrong PIN in StartSession.
    NOT_AUTHORIZED = 0x01;
    /// Another session holds the SP.
    SP_BUSY = 0x03;
    /// The SP is in a failed state.
    SP_FAILED = 0x04;
    /// The SP is disabled.
    SP_DISABLED = 0x05;
    /// The SP is frozen until the next power cycle.
    SP_FROZEN = 0x06;
    /// Every session slot is in use.
    NO_SESSIONS_AVAILABLE = 0x07;
    /// A row with these unique columns exists.
    UNIQUENESS_CONFLICT = 0x08;
    /// Not enough space.
    INSUFFICIENT_SPACE = 0x09;
    /// No free rows.
    INSUFFICIENT_ROWS = 0x0A;
    /// The SSC excludes the method (Enterprise; obsolete in Core).
    INVALID_COMMAND = 0x0B;
    /// A parameter is missing, of the wrong type, or has a value the drive does not take.
    INVALID_PARAMETER = 0x0C;
    /// A reference to nothing (old drafts; recalled).
    INVALID_REFERENCE = 0x0D;
    /// Secure messaging properties do not fit (old drafts; recalled).
    INVALID_SECMSG_PROPERTIES = 0x0E;
    /// The drive failed inside.
    TPER_MALFUNCTION = 0x0F;
    /// The method would have worked outside the transaction.
    TRANSACTION_FAILURE = 0x10;
    /// The answer does not fit the response buffer.
    RESPONSE_OVERFLOW = 0x11;
    /// The authority's tries are used up.
    AUTHORITY_LOCKED_OUT = 0x12;
    /// Anything else.
    FAIL = 0x3F;
}

impl Status {
    /// Whether the method did what it was asked.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "status 0x{:02X}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

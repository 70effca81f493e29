// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Ssc`]: the Security Subsystem Classes, and what follows from them alone.

/// Security Subsystem Classes a TPer can be.
///
/// Opal 2 and the frame of Enterprise follow their specifications. **Experimental**, as they rest
/// on one public source or on memory: the numbers of authorities and ranges and the table sizes of
/// Opal 1, Opalite, Pyrite and Ruby; the Ruby descriptor; PSID and every revert of Enterprise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ssc {
    /// Opal 1.00 (experimental).
    Opal1,
    /// Opal 2.xx.
    Opal2,
    /// Opalite 1.00 (experimental).
    Opalite,
    /// Pyrite 1.00: access control without encryption (experimental).
    Pyrite1,
    /// Pyrite 2.xx (experimental).
    Pyrite2,
    /// Ruby 1.00 (experimental).
    Ruby,
    /// Enterprise 1.01.
    Enterprise,
}

impl Ssc {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Opal1,
        Self::Opal2,
        Self::Opalite,
        Self::Pyrite1,
        Self::Pyrite2,
        Self::Ruby,
        Self::Enterprise,
    ];

    /// The name people type: `opal1 opal2 opalite pyrite1 pyrite2 ruby enterprise`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opal1 => "opal1",
            Self::Opal2 => "opal2",
            Self::Opalite => "opalite",
            Self::Pyrite1 => "pyrite1",
            Self::Pyrite2 => "pyrite2",
            Self::Ruby => "ruby",
            Self::Enterprise => "enterprise",
        }
    }

    /// The SSC that [`Ssc::name`] calls so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ssc| ssc.name() == name)
    }

    /// The name in TPerInfo.SSC.
    #[must_use]
    pub const fn tper_info_name(self) -> &'static str {
        match self {
            Self::Opal1 | Self::Opal2 => "Opal",
            Self::Opalite => "Opalite",
            Self::Pyrite1 | Self::Pyrite2 => "Pyrite",
            Self::Ruby => "Ruby",
            Self::Enterprise => "Enterprise",
        }
    }

    /// User data is encrypted and K_AES tables are there. Pyrite promises neither.
    #[must_use]
    pub const fn encrypts(self) -> bool {
        !matches!(self, Self::Pyrite1 | Self::Pyrite2)
    }

    /// TPER_RESET and TPerInfo.ProgrammaticResetEnable.
    #[must_use]
    pub const fn has_programmatic_reset(self) -> bool {
        !matches!(self, Self::Opal1 | Self::Enterprise)
    }

    /// Alignment: the columns of LockingInfo and the granularity columns of Table.
    #[must_use]
    pub const fn has_alignment_columns(self) -> bool {
        !matches!(self, Self::Opal1 | Self::Enterprise)
    }

    /// Enterprise, which has bands, masters and names for numbers.
    #[must_use]
    pub const fn is_enterprise(self) -> bool {
        matches!(self, Self::Enterprise)
    }
}

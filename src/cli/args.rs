// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: `opalbox <noun> <verb> [<device>]`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::color::Color;
use super::output::Format;
use super::secret_input::SecretSource;
use crate::lockbox::tpm::{PcrSelection, Tcti};

/// What stands under the list of options.
pub(crate) const NOTES: &str = "Devices: /dev/nvme0n1, /dev/sda, /dev/sg3, a by-id path, or sim:SOCKET.\n\
     Secrets come from a prompt, --pin-file, --pin-fd or a systemd credential; never from arguments.";

/// Self-encrypting drives under vendor-neutral control, their keys in a TPM lockbox
#[derive(Debug, Parser)]
#[command(name = "opalbox", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = NOTES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the lockbox's store is
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/opalbox")]
    pub(crate) store: PathBuf,
    /// How results are printed
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Colour words about what is done
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Say what is done (twice: every method that drives are asked for)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Reach the lockbox's TPM this way, instead of the way noted when it was made
    #[arg(long, global = true, value_name = "TCTI")]
    pub(crate) tcti: Option<Tcti>,
    /// Read the lockbox's passphrase from this file, byte for byte; `-` is standard input
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Write a decoded, redacted trace of every exchange with drives to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) trace_wire: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find, inspect, provision and revert drives
    #[command(subcommand)]
    Drive(DriveCommand),
    /// Create, list, lock and unlock locking ranges
    #[command(subcommand)]
    Range(RangeCommand),
    /// The shadow MBR, which a locked drive shows before it is unlocked
    #[command(subcommand)]
    Mbr(MbrCommand),
    /// The tables in a drive that hosts may store data in
    #[command(subcommand)]
    Datastore(DatastoreCommand),
    /// Open everything that this machine should open
    Unlock(UnlockArgs),
    /// The place where keys are kept
    #[command(subcommand)]
    Lockbox(LockboxCommand),
    /// Keys by their IDs; never their values
    #[command(subcommand)]
    Key(KeyCommand),
    /// Explain bytes that a drive said: raw, hex, or a JSON record
    Decode(DecodeArgs),
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriveCommand {
    /// List block devices, and say of each whether it is self-encrypting
    List(ListArgs),
    /// Show what a drive says about itself
    Show(DeviceArg),
    /// Say what state a drive is in, who owns it, what will not work, and the next step
    Doctor(DeviceArg),
    /// Take ownership, set up a range with its user, and escrow every credential
    Provision(ProvisionArgs),
    /// Prove that every credential in the lockbox opens the drive and every setting holds
    Verify(DeviceArg),
    /// Return a drive to its factory state: all data on it is lost
    Revert(RevertArgs),
    /// Keep anybody from taking ownership of a factory-fresh drive until the next power cycle
    BlockSid(BlockSidArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RangeCommand {
    /// Set up a further range with its user on a provisioned drive
    Create(RangeCreateArgs),
    /// List the ranges of a drive
    List(DeviceArg),
    /// Lock ranges
    Lock(RangeSelection),
    /// Unlock ranges
    Unlock(RangeSelection),
    /// Replace the media key of a range: all data in it is lost, its settings stay
    Erase(RangeEraseArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MbrCommand {
    /// Show the shadow MBR's switches and size
    Show(DeviceArg),
    /// Write an image into the shadow MBR and read it back
    Load(MbrLoadArgs),
    /// Copy the shadow MBR into a file
    Read(MbrReadArgs),
    /// Show the shadow MBR in place of the drive's first blocks from the next power cycle on
    Enable(DeviceArg),
    /// Stop using the shadow MBR
    Disable(DeviceArg),
    /// Show the drive's own blocks until the next power cycle
    Done(DeviceArg),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatastoreCommand {
    /// Copy part of a DataStore table into a file
    Read(DatastoreReadArgs),
    /// Write a file into a DataStore table and read it back
    Write(DatastoreWriteArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LockboxCommand {
    /// Make the lockbox of this machine
    Init(LockboxInitArgs),
    /// Show what the lockbox holds and what protects it
    Status,
    /// Approve the boot state measured now, so that the lockbox opens in it
    Enroll(LockboxEnrollArgs),
    /// Check the store, the provider, and that the lockbox is not on a drive that it opens
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Show the keys, or one of them
    Show {
        /// Key ID (32 hexadecimal digits, or the first of them)
        key_id: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArg {
    /// The drive
    pub(crate) device: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Look at these devices too (emulated drives are not found by themselves)
    #[arg(value_name = "DEVICE")]
    pub(crate) devices: Vec<String>,
    /// Show devices that are not self-encrypting as well, with the reason
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Erasure {
    /// Confirm the loss of data by naming the drive's serial
    #[arg(long, value_name = "SERIAL")]
    pub(crate) yes_erase: Option<String>,
    /// Print what would be done, and stop
    #[arg(long)]
    pub(crate) plan: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProvisionArgs {
    /// The drive
    pub(crate) device: String,
    /// What to protect: `all` (range 1 over the whole drive), `global` (the Global Range; data on
    /// the drive is kept), or START+LENGTH in blocks (range 1), with K, M, G, T for bytes
    #[arg(long, value_name = "EXTENT", default_value = "all")]
    pub(crate) range: String,
    /// The user that opens the range (default: the range's number)
    #[arg(long, value_name = "N")]
    pub(crate) user: Option<u16>,
    /// Take ownership and activate locking only; ranges come later with `range create`
    #[arg(long, conflicts_with_all = ["range", "user"])]
    pub(crate) no_range: bool,
    #[command(flatten)]
    pub(crate) erasure: Erasure,
}

#[derive(Debug, Args)]
pub(crate) struct RevertArgs {
    /// The drive
    pub(crate) device: String,
    /// Revert with the PSID from the drive's label instead of the lockbox's credential
    #[arg(long)]
    pub(crate) psid: bool,
    #[command(flatten)]
    pub(crate) secret: SecretSource,
    #[command(flatten)]
    pub(crate) erasure: Erasure,
}

#[derive(Debug, Args)]
pub(crate) struct RangeCreateArgs {
    /// The drive
    pub(crate) device: String,
    /// Number of the range
    pub(crate) range: u16,
    /// START+LENGTH in blocks, with K, M, G, T for bytes
    #[arg(value_name = "EXTENT")]
    pub(crate) extent: String,
    /// The user that opens the range (default: the range's number)
    #[arg(long, value_name = "N")]
    pub(crate) user: Option<u16>,
    #[command(flatten)]
    pub(crate) erasure: Erasure,
}

#[derive(Debug, Args)]
pub(crate) struct BlockSidArgs {
    /// The drive
    pub(crate) device: String,
    /// Let a hardware reset end the block as well
    #[arg(long)]
    pub(crate) until_hardware_reset: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RangeEraseArgs {
    /// The drive
    pub(crate) device: String,
    /// Number of the range; 0 is the Global Range
    pub(crate) range: u16,
    #[command(flatten)]
    pub(crate) erasure: Erasure,
}

#[derive(Debug, Args)]
pub(crate) struct MbrLoadArgs {
    /// The drive
    pub(crate) device: String,
    /// The image
    pub(crate) image: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MbrReadArgs {
    /// The drive
    pub(crate) device: String,
    /// The file to make
    pub(crate) to: PathBuf,
    /// Bytes to read (default: the whole table)
    #[arg(long)]
    pub(crate) length: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DatastoreReadArgs {
    /// The drive
    pub(crate) device: String,
    /// The file to make
    pub(crate) to: PathBuf,
    /// Number of the table
    #[arg(long, default_value_t = 1)]
    pub(crate) table: u16,
    /// First byte
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
    /// Bytes to read (default: to the table's end)
    #[arg(long)]
    pub(crate) length: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DatastoreWriteArgs {
    /// The drive
    pub(crate) device: String,
    /// The file to write
    pub(crate) from: PathBuf,
    /// Number of the table
    #[arg(long, default_value_t = 1)]
    pub(crate) table: u16,
    /// First byte
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RangeSelection {
    /// The drive
    pub(crate) device: String,
    /// Numbers of the ranges; 0 is the Global Range (default: all that the lockbox opens)
    pub(crate) ranges: Vec<u16>,
    /// Only reading or only writing
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) access: Access,
}

/// Which lock
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Access {
    /// Reading and writing
    Both,
    /// Reading
    Read,
    /// Writing
    Write,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Only these drives (default: every provisioned drive that is present)
    #[arg(value_name = "DEVICE")]
    pub(crate) devices: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LockboxInitArgs {
    /// What protects the keys
    #[arg(long, value_enum, default_value = "tpm")]
    pub(crate) provider: Provider,
    /// PCRs that must not change, such as 7,11,14 or sha384:7 (default: by what the machine
    /// measures)
    #[arg(long, value_name = "LIST")]
    pub(crate) pcrs: Option<PcrSelection>,
    /// Take an administrator's PIN, which guards the approval of further boot states
    #[arg(long)]
    pub(crate) admin_pin: bool,
    /// Name of the domain
    #[arg(long, default_value = crate::lockbox::DEFAULT_DOMAIN)]
    pub(crate) domain: String,
    #[command(flatten)]
    pub(crate) secret: SecretSource,
}

#[derive(Debug, Args)]
pub(crate) struct LockboxEnrollArgs {
    /// Approve the PCRs as they are now (the default unless --accept-store is given)
    #[arg(long)]
    pub(crate) pcrs: bool,
    /// Take the store as it is for the newest one, after an old copy was put back on purpose
    #[arg(long)]
    pub(crate) accept_store: bool,
    #[command(flatten)]
    pub(crate) secret: SecretSource,
}

/// What protects the keys
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// A TPM 2.0
    Tpm,
    /// A passphrase (for machines without a TPM)
    File,
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The file; `-` is standard input
    pub(crate) file: PathBuf,
}

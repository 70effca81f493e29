// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels, clients and QEMU, obtained once and kept below `target/vm`.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::error::{Context as _, Error};
use crate::packages::Apt;
use crate::{image, modules};

/// Raised when the recipe changes in a way that its lists do not show.
const RECIPE: u32 = 1;

/// A Debian kernel, named by the series it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Debian 12's. Its sed-opal works over PCI NVMe only and lacks newer ioctls.
    V6_1,
    /// Debian 13's.
    V6_12,
    /// The newest in Debian 13's backports.
    Newest,
}

impl Kernel {
    /// Every kernel, oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::Newest];

    fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "kernel-6.1",
            Self::V6_12 => "kernel-6.12",
            Self::Newest => "kernel-newest",
        }
    }
}

/// A QEMU, by where Debian carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QemuRelease {
    /// Debian 13's backports: has `vfio-user-pci`.
    Backports,
    /// Debian 13's: what most people have; no `vfio-user-pci`.
    Stable,
}

impl QemuRelease {
    fn name(self) -> &'static str {
        match self {
            Self::Backports => "qemu-backports",
            Self::Stable => "qemu-stable",
        }
    }
}

/// A kernel ready to boot.
#[derive(Debug, Clone)]
pub(crate) struct KernelImage {
    pub(crate) vmlinuz: PathBuf,
    pub(crate) modules: PathBuf,
    /// Names of the modules in the image; others are built in or absent.
    pub(crate) loadable: Vec<String>,
}

/// The cache of everything a guest is made of.
#[derive(Debug, Clone)]
pub struct Artifacts {
    cache: PathBuf,
}

const TRIXIE: &[&str] = &["trixie", "trixie-updates", "trixie-security", "trixie-backports"];
const BOOKWORM: &[&str] = &["bookworm", "bookworm-updates", "bookworm-security"];

impl Artifacts {
    /// The cache of this workspace: `vm` in cargo's target folder.
    #[must_use]
    pub fn of_workspace() -> Self {
        Self { cache: target_folder().join("vm") }
    }

    /// Where the cache is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.cache
    }

    /// Obtains everything that any test needs, telling `progress` about each part.
    ///
    /// # Errors
    /// [`Error::Artifact`] when a package cannot be obtained.
    pub fn fetch_all(&self, mut progress: impl FnMut(&str)) -> Result<(), Error> {
        progress("clients (nvme-cli, cryptsetup, sedutil, sg3-utils, busybox)");
        self.tools()?;
        for kernel in Kernel::ALL {
            progress(kernel.name());
            self.kernel(kernel)?;
        }
        for release in [QemuRelease::Backports, QemuRelease::Stable] {
            progress(release.name());
            self.qemu(release)?;
        }
        Ok(())
    }

    /// The image with the clients.
    pub(crate) fn tools(&self) -> Result<PathBuf, Error> {
        let recipe = (image::PACKAGES, image::PROGRAMS);
        let folder = self.once("tools", recipe, |folder| {
            let apt = Apt::open(&self.cache, "trixie", TRIXIE)?;
            let root = folder.join("root");
            apt.unpack(None, image::PACKAGES, |_| true, &root)?;
            image::tools(&root, &folder.join("tools.cpio"))?;
            // Kept for the kernels, whose modules it unpacks.
            fs::copy(image::busybox(&root), folder.join("busybox")).context("keeping busybox")?;
            fs::remove_dir_all(&root).context("removing the unpacked tools")
        })?;
        Ok(folder.join("tools.cpio"))
    }

    /// A kernel and its modules.
    pub(crate) fn kernel(&self, kernel: Kernel) -> Result<KernelImage, Error> {
        let tools = self.tools()?;
        let busybox = tools.with_file_name("busybox");
        let folder = self.once(kernel.name(), modules::WANTED, |folder| {
            let (apt, release) = match kernel {
                Kernel::V6_1 => (Apt::open(&self.cache, "bookworm", BOOKWORM)?, None),
                Kernel::V6_12 => (Apt::open(&self.cache, "trixie", TRIXIE)?, None),
                Kernel::Newest => {
                    (Apt::open(&self.cache, "trixie", TRIXIE)?, Some("trixie-backports"))
                }
            };
            let root = folder.join("root");
            let kernel_parts = |package: &str| {
                ["linux-image-", "linux-binary-", "linux-modules-"]
                    .iter()
                    .any(|prefix| package.starts_with(prefix))
            };
            apt.unpack(release, &["linux-image-cloud-amd64"], kernel_parts, &root)?;
            self.pack_kernel(kernel, &root, folder, &busybox)?;
            fs::remove_dir_all(&root).context("removing the unpacked kernel")
        })?;
        let list = fs::read_to_string(folder.join("loadable")).context("reading a kernel")?;
        Ok(KernelImage {
            vmlinuz: folder.join("vmlinuz"),
            modules: folder.join("modules.cpio"),
            loadable: list.lines().map(str::to_owned).collect(),
        })
    }

    /// The folder with an unpacked QEMU.
    pub(crate) fn qemu(&self, release: QemuRelease) -> Result<PathBuf, Error> {
        let packages = ["qemu-system-x86", "seabios", "ovmf"];
        self.once(release.name(), packages, |folder| {
            let apt = Apt::open(&self.cache, "trixie", TRIXIE)?;
            let suite = match release {
                QemuRelease::Backports => Some("trixie-backports"),
                QemuRelease::Stable => None,
            };
            apt.unpack(suite, &packages, |_| true, folder)
        })
    }

    fn pack_kernel(
        &self,
        kernel: Kernel,
        root: &Path,
        folder: &Path,
        busybox: &Path,
    ) -> Result<(), Error> {
        let missing = |why: &str| Error::Artifact {
            what: kernel.name().to_owned(),
            why: why.to_owned(),
            cache: self.cache.clone(),
        };
        let tree = ["lib/modules", "usr/lib/modules"]
            .iter()
            .find_map(|parent| fs::read_dir(root.join(parent)).ok()?.flatten().next())
            .ok_or_else(|| missing("the packages hold no modules"))?;
        let version = tree.file_name().to_string_lossy().into_owned();
        let vmlinuz = [root.join("boot"), tree.path(), root.join("usr/lib/modules").join(&version)]
            .iter()
            .flat_map(|folder| [folder.join(format!("vmlinuz-{version}")), folder.join("vmlinuz")])
            .find(|path| path.is_file())
            .ok_or_else(|| missing("the packages hold no vmlinuz"))?;
        fs::copy(vmlinuz, folder.join("vmlinuz")).context("keeping the kernel")?;
        let file = File::create(folder.join("modules.cpio")).context("creating a module image")?;
        let mut archive = Archive::new(BufWriter::new(file));
        let loadable = modules::pack(&tree.path(), &version, busybox, &mut archive)?;
        archive.finish().context("writing a module image")?;
        fs::write(folder.join("loadable"), loadable.join("\n")).context("keeping module names")?;
        fs::write(folder.join("version"), version).context("keeping the kernel's version")
    }

    /// Makes `name` below the cache unless it is there; an interrupted try leaves nothing behind.
    ///
    /// Tests run in several processes, so the work is done under a file lock.
    fn once(
        &self,
        name: &str,
        recipe: impl std::hash::Hash,
        make: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        let mut hasher = DefaultHasher::new();
        (RECIPE, recipe).hash(&mut hasher);
        let folder = self.cache.join(format!("{name}-{:08x}", hasher.finish() >> 32));
        if folder.exists() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.cache).context("creating the cache of the VM tests")?;
        let lock = File::create(self.cache.join(format!("{name}.lock"))).context("locking")?;
        lock.lock().context("waiting for another test to fetch")?;
        if folder.exists() {
            return Ok(folder);
        }
        let partial = self.cache.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).context("removing an interrupted download")?;
        }
        fs::create_dir_all(&partial).context("creating a folder in the cache")?;
        make(&partial)?;
        fs::rename(&partial, &folder).context("keeping a download")?;
        Ok(folder)
    }
}

/// Cargo's target folder, as cargo itself would find it.
pub(crate) fn target_folder() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"),
    }
}

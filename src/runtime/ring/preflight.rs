//! What the machine must offer, asked before any executor starts: glommio would panic or exit without a word (fault B8).
//!
//! Every refusal names its cause as found and the command that cures it.

use super::file::direct_alignment;
use super::uring::OPCODES;
use super::{StartError, allowed_cores};
use crate::BLOCK_BYTES;
use io_uring::{IoUring, Probe, squeue};
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// DEFER_TASKRUN, which the ring is built on.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Below this a broker with a few hundred partitions and clients runs out.
const OPEN_FILES_WANTED: u64 = 65_536;
/// What the rings of one shard count against the memlock limit: ours, glommio's three and its registered buffers. Measured (users.md,
/// finding 4: 100 bytes an entry) and doubled.
const MEMLOCK_BYTES_PER_SHARD: u64 = 1 << 20;

/// glommio refuses to start an executor below this, root or not.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// What was found, for the banner and the log.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: String,
    /// The limit after raising.
    pub open_files: u64,
    /// The data directory takes direct I/O.
    pub is_direct: bool,
    /// What will work but not well; each a whole sentence with its cure.
    pub warnings: Vec<String>,
}

/// Checks the machine for shards on `cores` with their files in `data_dir` (which must exist). Raises the limit of open files.
pub fn preflight(data_dir: &Path, cores: &[usize]) -> Result<Machine, StartError> {
    let kernel = check_rings(cores)?;
    let mut warnings = Vec::new();
    warnings.extend(check_memlock(cores.len())?);
    let (open_files, few_files) = raise_open_files();
    warnings.extend(few_files);
    let is_direct = check_data_dir(data_dir)?;
    if !is_direct {
        warnings.push(format!(
            "{} is on a file system without direct I/O: files go through the page cache and cost more CPU and memory. \
             Put the data directory on ext4 or xfs.",
            data_dir.display()
        ));
    }
    Ok(Machine { kernel, open_files, is_direct, warnings })
}

/// What a program without files of its own needs: the kernel, io_uring and its CPUs. Gives the kernel's release.
pub fn check_rings(cores: &[usize]) -> Result<String, StartError> {
    let kernel = kernel_release();
    check_kernel(&kernel)?;
    check_cores(cores)?;
    check_ring(&kernel)?;
    Ok(kernel)
}

fn refuse<T>(message: String) -> Result<T, StartError> {
    Err(StartError::Preflight(message))
}

fn kernel_release() -> String {
    // SAFETY: all zeros is a valid utsname.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is writable; uname fails for no other reason.
    unsafe { libc::uname(&mut names) };
    // SAFETY: the kernel ends the text with a zero byte inside the array.
    unsafe { CStr::from_ptr(names.release.as_ptr()) }.to_string_lossy().into_owned()
}

fn check_kernel(release: &str) -> Result<(), StartError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        let (major, minor) = KERNEL_MIN;
        return refuse(format!(
            "Linux {major}.{minor} or newer is needed for io_uring as used here; this is {release}. Upgrade the kernel."
        ));
    }
    Ok(())
}

fn check_cores(cores: &[usize]) -> Result<(), StartError> {
    let allowed = allowed_cores();
    match cores.iter().find(|core| !allowed.contains(core)) {
        Some(core) => refuse(format!(
            "CPU {core} is not one that this process may use ({allowed:?}). Check --cores, taskset and the cpuset."
        )),
        None if cores.is_empty() => refuse("no CPU given: at least one shard is needed. Check --cores.".to_owned()),
        None => Ok(()),
    }
}

fn check_ring(kernel: &str) -> Result<(), StartError> {
    let built =
        IoUring::<squeue::Entry>::builder().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(8);
    let ring = match built {
        Ok(ring) => ring,
        Err(error) => return refuse(ring_refused(&error, kernel)),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return refuse(format!(
            "the kernel ({kernel}) does not say which io_uring operations it has: {error}. A seccomp filter may forbid io_uring_register."
        ));
    }
    let missing: Vec<_> =
        OPCODES.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return refuse(format!(
            "the kernel ({kernel}) lacks these io_uring operations: {}. Upgrade the kernel.",
            missing.join(", ")
        ));
    }
    Ok(())
}

/// Why `io_uring_setup` said no.
pub(super) fn ring_refused(error: &io::Error, kernel: &str) -> String {
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), switch.trim()) {
        (Some(libc::EPERM), switch @ ("1" | "2")) => format!(
            "io_uring is forbidden: kernel.io_uring_disabled is {switch}. Allow it with `sysctl -w kernel.io_uring_disabled=0` \
             (and a file in /etc/sysctl.d to keep it)."
        ),
        (Some(libc::EPERM | libc::EACCES), _) => "io_uring is forbidden, most likely by a seccomp filter (Docker's and containerd's default \
             profiles block it). Start the container with `--security-opt seccomp=unconfined`, or with a profile that allows \
             io_uring_setup, io_uring_enter and io_uring_register; under systemd check SystemCallFilter=."
            .to_owned(),
        (Some(libc::ENOSYS), _) => format!(
            "this kernel ({kernel}) has no io_uring, or a seccomp filter hides it. Use a kernel with CONFIG_IO_URING, or allow \
             io_uring_setup, io_uring_enter and io_uring_register in the filter."
        ),
        (Some(libc::ENOMEM), _) => {
            let (soft, hard) = limit(libc::RLIMIT_MEMLOCK);
            format!(
                "no memory for an io_uring ring: its queues count against the limit of locked memory of this user, {} (at most {}). \
                 Raise it: `ulimit -l unlimited`, LimitMEMLOCK=infinity under systemd, `--ulimit memlock=-1` with Docker. \
                 The memory of a broker that has just ended is given back a moment later.",
                bytes_or_unlimited(soft),
                bytes_or_unlimited(hard)
            )
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            let (soft, hard) = limit(libc::RLIMIT_NOFILE);
            format!("no descriptor left for an io_uring ring: the limit of open files is {soft} (at most {hard}). Raise it: `ulimit -n 65536`.")
        }
        _ => format!("io_uring cannot be used on this kernel ({kernel}): {error}."),
    }
}

/// Raises the limit as far as it goes; a warning where the rings may not fit.
fn check_memlock(shards: usize) -> Result<Option<String>, StartError> {
    const CURE: &str = "`ulimit -l unlimited`, LimitMEMLOCK=infinity under systemd, `--ulimit memlock=-1` with Docker";
    let (_, hard) = limit(libc::RLIMIT_MEMLOCK);
    set_soft_limit(libc::RLIMIT_MEMLOCK, hard);
    let (soft, _) = limit(libc::RLIMIT_MEMLOCK);
    if soft < MEMLOCK_BYTES_MIN {
        return refuse(format!(
            "locked memory is limited to {soft} bytes; each shard's executor needs {MEMLOCK_BYTES_MIN}. Raise the limit: {CURE}."
        ));
    }
    // SAFETY: no arguments, cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let wanted = shards as u64 * MEMLOCK_BYTES_PER_SHARD;
    let is_short = !is_root && soft < wanted;
    Ok(is_short.then(|| {
        format!("Locked memory is limited to {soft} bytes; {shards} shards may need {wanted} for their rings. If the start fails, raise it: {CURE}.")
    }))
}

fn raise_open_files() -> (u64, Option<String>) {
    let (_, hard) = limit(libc::RLIMIT_NOFILE);
    set_soft_limit(libc::RLIMIT_NOFILE, hard);
    let (soft, _) = limit(libc::RLIMIT_NOFILE);
    let few = (soft < OPEN_FILES_WANTED).then(|| {
        format!(
            "Open files are limited to {soft}; each partition and each client takes some. Raise the limit to {OPEN_FILES_WANTED} or more: \
             `ulimit -Hn {OPEN_FILES_WANTED}`, LimitNOFILE= under systemd, `--ulimit nofile=` with Docker."
        )
    });
    (soft, few)
}

/// Writes and removes a file; answers whether it took direct I/O.
fn check_data_dir(data_dir: &Path) -> Result<bool, StartError> {
    let path = data_dir.join(format!(".preflight-{}", std::process::id()));
    let result = try_direct_file(&path);
    // Not there when it could not be made; anything else comes back with the next file.
    let _ = fs::remove_file(&path);
    match result {
        Ok(alignment) => match alignment {
            Some(bytes) if bytes > BLOCK_BYTES || !BLOCK_BYTES.is_multiple_of(bytes) => refuse(format!(
                "{} is on a device whose direct I/O must be aligned to {bytes} bytes; at most {BLOCK_BYTES} are supported. \
                 Use another device or format it with 4 KiB blocks.",
                data_dir.display()
            )),
            alignment => Ok(alignment.is_some()),
        },
        Err(error) => {
            let cure = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "Give this user write permission, or choose another directory with --data."
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "The file system is mounted read-only: remount it (`mount -o remount,rw`; see dmesg for why), or choose another directory with --data."
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "Free some space, or choose another directory with --data."
                }
                io::ErrorKind::NotFound => "Create the directory, or choose another one with --data.",
                _ => "Choose another directory with --data.",
            };
            refuse(format!("cannot write into the data directory {}: {error}. {cure}", data_dir.display()))
        }
    }
}

/// The alignment of direct I/O on a new file at `path`; `None` when the file system has none.
fn try_direct_file(path: &Path) -> io::Result<Option<usize>> {
    File::create(path)?;
    let direct = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        Err(error) => return Err(error),
    };
    let alignment = direct_alignment(&direct)?.unwrap_or(BLOCK_BYTES);
    Ok((alignment > 0).then_some(alignment))
}

fn limit(resource: libc::__rlimit_resource_t) -> (u64, u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` is writable; fails only for an unknown resource.
    unsafe { libc::getrlimit(resource, &mut limits) };
    (limits.rlim_cur, limits.rlim_max)
}

/// A process may raise its soft limit up to the hard one.
fn set_soft_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let limits = libc::rlimit { rlim_cur: soft, rlim_max: limit(resource).1 };
    // SAFETY: a valid rlimit. A refusal leaves the limit as it was, which the callers read again.
    unsafe { libc::setrlimit(resource, &limits) };
}

fn bytes_or_unlimited(limit: u64) -> String {
    if limit == libc::RLIM_INFINITY { "unlimited".to_owned() } else { format!("{limit} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Old kernels refuse the ring's flags with a bare EINVAL, which would tell nobody what to do.
    #[test]
    fn old_kernels_are_named() {
        for old in ["5.15.0-91-generic", "6.0.9", "4.19.0", ""] {
            assert!(check_kernel(old).unwrap_err().to_string().contains("6.1 or newer"));
        }
        for new in ["6.1.0-13-amd64", "6.18.44-fc-v669", "7.0"] {
            check_kernel(new).unwrap();
        }
    }

    #[test]
    fn a_refused_ring_names_cause_and_cure() {
        let message = |errno| ring_refused(&io::Error::from_raw_os_error(errno), "6.18");
        assert!(message(libc::ENOMEM).contains("LimitMEMLOCK=infinity"));
        assert!(message(libc::ENOSYS).contains("seccomp"));
        assert!(message(libc::EPERM).contains("io_uring"));
        assert!(message(libc::EMFILE).contains("ulimit -n"));
    }

    /// What Docker's default profile does: without the check glommio would panic in the middle of the start.
    #[test]
    fn a_seccomp_filter_that_forbids_io_uring_is_named() {
        let refused = std::thread::spawn(|| {
            forbid_io_uring_on_this_thread();
            preflight(&std::env::temp_dir(), &allowed_cores()).unwrap_err().to_string()
        });
        let message = refused.join().unwrap();
        assert!(message.contains("seccomp") && message.contains("--security-opt"), "{message}");
    }

    fn forbid_io_uring_on_this_thread() {
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let number = libc::SYS_io_uring_setup as u32;
        let mut filter = [
            // The number of the system call, first in `seccomp_data`; EPERM for ours, all others pass.
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the program is valid for the call and applies to this thread alone, which ends with the test.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
    }

    /// Found at the first append instead, it would be an acknowledged topic that cannot take a record.
    #[test]
    fn a_data_directory_that_cannot_be_written_is_refused() {
        let message = preflight(Path::new("/proc/self"), &allowed_cores()).unwrap_err().to_string();
        assert!(message.contains("cannot write into the data directory /proc/self"), "{message}");
        let message = preflight(Path::new("/nonexistent/ringlane"), &allowed_cores()).unwrap_err().to_string();
        assert!(message.contains("Create the directory"), "{message}");
    }

    #[test]
    fn this_machine_passes() {
        let machine = preflight(&std::env::temp_dir(), &allowed_cores()).unwrap();
        assert!(!machine.kernel.is_empty() && machine.open_files > 0);
        assert!(preflight(&std::env::temp_dir(), &[100_000]).unwrap_err().to_string().contains("CPU 100000"));
    }
}

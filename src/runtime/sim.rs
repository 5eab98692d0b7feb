//! The simulated machine: N nodes with S shards each in one thread, virtual clock, network and disks with faults, all from a seed.
//!
//! The list of what the facade calls here is in `context.rs`.

use crate::ShardId;

pub(crate) struct Shard {}

impl Shard {
    pub(crate) fn id(&self) -> ShardId {
        todo!()
    }
    pub(crate) fn count(&self) -> usize {
        todo!()
    }
}

pub(crate) mod task {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    pub(crate) struct Task<T> {
        _result: std::marker::PhantomData<T>,
    }
    pub(crate) fn spawn<T: 'static>(name: &'static str, future: impl Future<Output = T> + 'static) -> Task<T> {
        let _ = (name, future);
        todo!()
    }
    impl<T> Task<T> {
        pub(crate) fn detach(self) {
            todo!()
        }
    }
    impl<T> Unpin for Task<T> {}
    impl<T> Future for Task<T> {
        type Output = T;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<T> {
            todo!()
        }
    }
    pub(crate) async fn yield_now() {
        todo!()
    }
}

pub(crate) mod time {
    use crate::Instant;

    pub(crate) fn now() -> Instant {
        todo!()
    }
    pub(crate) fn wall_clock_ms() -> i64 {
        todo!()
    }
    pub(crate) async fn sleep_until(deadline: Instant) {
        let _ = deadline;
        todo!()
    }
}

pub(crate) mod random {
    pub(crate) fn fill(bytes: &mut [u8]) {
        let _ = bytes;
        todo!()
    }
}

pub(crate) mod signal {
    pub(crate) async fn next_signal() -> crate::Signal {
        todo!()
    }
}

pub(crate) mod net {
    use crate::Buffer;
    use bytes::Bytes;
    use std::io;
    use std::net::SocketAddr;

    pub(crate) struct Listener {}
    impl Listener {
        pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
            let _ = address;
            todo!()
        }
        pub(crate) fn local_address(&self) -> SocketAddr {
            todo!()
        }
        pub(crate) async fn accept(&self) -> io::Result<Socket> {
            todo!()
        }
    }

    /// `Send`.
    pub(crate) struct Socket {}
    impl Socket {
        pub(crate) fn peer_address(&self) -> SocketAddr {
            todo!()
        }
        pub(crate) fn local_address(&self) -> SocketAddr {
            todo!()
        }
        pub(crate) fn into_stream(self) -> Stream {
            todo!()
        }
    }

    #[derive(Clone)]
    pub(crate) struct Stream {}
    impl Stream {
        pub(crate) async fn connect(address: SocketAddr) -> io::Result<Stream> {
            let _ = address;
            todo!()
        }
        pub(crate) fn peer_address(&self) -> SocketAddr {
            todo!()
        }
        pub(crate) fn local_address(&self) -> SocketAddr {
            todo!()
        }
        pub(crate) async fn recv(&self, buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
            let _ = (buffer, from);
            todo!()
        }
        pub(crate) async fn send_all(&self, parts: Vec<Bytes>) -> io::Result<()> {
            let _ = parts;
            todo!()
        }
        pub(crate) fn shutdown(&self) {
            todo!()
        }
    }

    pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let _ = (host, port);
        todo!()
    }
}

pub(crate) mod file {
    use crate::{Buffer, Durability, FileMode};
    use std::io;
    use std::path::{Path, PathBuf};

    #[derive(Clone)]
    pub(crate) struct File {}
    impl File {
        pub(crate) async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
            let _ = (path, mode);
            todo!()
        }
        pub(crate) fn path(&self) -> PathBuf {
            todo!()
        }
        pub(crate) fn is_direct(&self) -> bool {
            todo!()
        }
        pub(crate) async fn read_at(&self, buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
            let _ = (buffer, position);
            todo!()
        }
        pub(crate) async fn write_at(
            &self,
            buffer: Buffer,
            position: u64,
            durability: Durability,
        ) -> (io::Result<()>, Buffer) {
            let _ = (buffer, position, durability);
            todo!()
        }
        pub(crate) async fn sync(&self) -> io::Result<()> {
            todo!()
        }
        pub(crate) async fn allocate(&self, bytes: u64) -> io::Result<()> {
            let _ = bytes;
            todo!()
        }
        pub(crate) async fn set_len(&self, bytes: u64) -> io::Result<()> {
            let _ = bytes;
            todo!()
        }
        pub(crate) async fn len(&self) -> io::Result<u64> {
            todo!()
        }
    }
}

pub(crate) mod fs {
    use std::io;
    use std::path::{Path, PathBuf};

    pub(crate) async fn create_dir_all(path: &Path) -> io::Result<()> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        todo!()
    }
    pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn sync_dir(path: &Path) -> io::Result<()> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn read(path: &Path) -> io::Result<Vec<u8>> {
        let _ = path;
        todo!()
    }
    pub(crate) async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
        let _ = (path, content);
        todo!()
    }
    pub(crate) async fn space(path: &Path) -> io::Result<(u64, u64)> {
        let _ = path;
        todo!()
    }
    pub(crate) struct DirLock {}
    pub(crate) async fn lock_dir(path: &Path) -> io::Result<DirLock> {
        let _ = path;
        todo!()
    }
}

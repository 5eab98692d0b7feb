//! Sockets over loopback: accept, receive, vectored send, cancellation.

use super::on_shard;
use crate::{Buffer, Listener, Stream, resolve, sleep, spawn, timeout};
use bytes::Bytes;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn pair() -> (Stream, Stream) {
    let listener = Listener::bind(LOOPBACK).await.unwrap();
    let client = Stream::connect(listener.local_address()).await.unwrap();
    let server = listener.accept().await.unwrap().into_stream();
    assert_eq!(server.peer_address(), client.local_address());
    assert_eq!(client.peer_address(), server.local_address());
    (client, server)
}

fn pattern(len: usize) -> Buffer {
    let mut buffer = Buffer::take(len);
    buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 / 7) as u8);
    buffer
}

#[test]
fn bytes_go_there_and_back() {
    on_shard(|| async {
        let (client, server) = pair().await;
        client.send_all(vec![Bytes::from_static(b"hel"), Bytes::new(), Bytes::from_static(b"lo")]).await.unwrap();
        let (received, buffer) = server.recv_exact(Buffer::take(10), 5).await;
        received.unwrap();
        assert_eq!(&buffer[5..], b"hello");
        server.send(buffer.freeze()).await.unwrap();
        let (received, _) = client.recv_exact(Buffer::take(10), 0).await;
        received.unwrap();
        drop(server);
        let (received, _) = client.recv(Buffer::take(10), 0).await;
        assert_eq!(received.unwrap(), 0, "the peer's end");
    });
}

/// The kernel takes what fits its socket buffer and at most 1,024 parts at a time; losing the rest would shift every later response.
#[test]
fn large_vectored_sends_arrive_whole() {
    on_shard(|| async {
        let (client, server) = pair().await;
        const LEN: usize = 10 << 20;
        let sender = spawn("sender", async move {
            let mut rest = pattern(LEN);
            let mut parts = Vec::new();
            while !rest.is_empty() {
                parts.push(rest.split_to((1 + parts.len() * 7 % 9000).min(rest.len())).freeze());
            }
            assert!(parts.len() > 1024);
            client.send_all(parts).await
        });
        // Begins late, so that the sender meets a full socket.
        sleep(Duration::from_millis(20)).await;
        let (received, buffer) = server.recv_exact(Buffer::take(LEN), 0).await;
        received.unwrap();
        sender.await.unwrap().unwrap();
        assert!(buffer[..] == pattern(LEN)[..]);
    });
}

/// The kernel writes into a cancelled receive's buffer until it has seen the cancel: freed at once it would be another frame's memory.
#[test]
fn a_dropped_receive_leaves_the_connection_usable() {
    on_shard(|| async {
        let (client, server) = pair().await;
        for _ in 0..100 {
            let waited = timeout(Duration::from_micros(200), server.recv(Buffer::take(4096), 0)).await;
            assert!(waited.is_err(), "nothing was sent");
        }
        // The cancels go to the kernel before the bytes do.
        sleep(Duration::from_millis(1)).await;
        client.send_all(vec![Bytes::from_static(b"still here")]).await.unwrap();
        let (received, buffer) = server.recv_exact(Buffer::take(10), 0).await;
        received.unwrap();
        assert_eq!(&buffer[..], b"still here");
    });
}

/// A response task that waits for a dead peer must end when the connection is closed by another task.
#[test]
fn shutdown_ends_what_waits() {
    on_shard(|| async {
        let (client, server) = pair().await;
        let receiving = server.clone();
        let receiver = spawn("receiver", async move { receiving.recv(Buffer::take(100), 0).await.0 });
        let sending = server.clone();
        let sender = spawn("sender", async move { sending.send_all(vec![pattern(64 << 20).freeze()]).await });
        sleep(Duration::from_millis(20)).await;
        server.shutdown();
        server.shutdown();
        assert_eq!(receiver.await.unwrap().unwrap(), 0);
        assert_eq!(sender.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(client);
    });
}

/// A shard that stops accepting must not leak the socket that came at that moment: the peer would wait for ever.
#[test]
fn a_connection_to_a_dropped_accept_is_closed() {
    on_shard(|| async {
        let listener = Listener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_address();
        assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
        let client = Stream::connect(address).await.unwrap();
        drop(listener);
        let (received, _) = timeout(Duration::from_secs(5), client.recv(Buffer::take(1), 0)).await.unwrap();
        assert!(matches!(received, Ok(0) | Err(_)));
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    on_shard(|| async {
        let free = Listener::bind(LOOPBACK).await.unwrap().local_address();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(Stream::connect(free).await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        let taken = Listener::bind(LOOPBACK).await.unwrap();
        assert_eq!(Listener::bind(taken.local_address()).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn names_and_literals_resolve() {
    on_shard(|| async {
        assert_eq!(resolve("127.0.0.1", 9).await.unwrap(), ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(resolve("[::1]", 9).await.unwrap(), ["[::1]:9".parse().unwrap()]);
        assert!(resolve("localhost", 9).await.unwrap().iter().all(|address| address.ip().is_loopback()));
    });
}

/// Hundreds of connections at once: more operations than one enter takes, and every one answered.
#[test]
fn many_connections_are_served_at_once() {
    on_shard(|| async {
        let listener = Listener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_address();
        spawn("accept", async move {
            loop {
                let stream = listener.accept().await.unwrap().into_stream();
                spawn("echo", async move {
                    let mut buffer = Buffer::take(100);
                    while let (Ok(()), back) = stream.recv_exact(buffer, 0).await {
                        let reply = Bytes::copy_from_slice(&back);
                        buffer = back;
                        stream.send_all(vec![reply]).await.unwrap();
                    }
                })
                .detach();
            }
        })
        .detach();
        let clients: Vec<_> = (0..300u32)
            .map(|client| {
                spawn("client", async move {
                    let stream = Stream::connect(address).await.unwrap();
                    for round in 0..20u32 {
                        let request = Buffer::copy_from(&(client * 1000 + round).to_le_bytes().repeat(25)).freeze();
                        stream.send_all(vec![request.clone()]).await.unwrap();
                        let (received, reply) = stream.recv_exact(Buffer::take(100), 0).await;
                        received.unwrap();
                        assert_eq!(&reply[..], &request[..]);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

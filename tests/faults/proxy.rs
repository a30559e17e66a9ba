//! A TCP proxy whose connections can be made to suffer while they are open: between a role and what it
//! talks to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Bytes passed on at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the connections suffer from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Nothing.
    None,
    /// Every chunk comes this much later.
    Latency(Duration),
    /// So many bytes per second in each direction.
    Bandwidth(u32),
    /// Connections are reset, also those that are made now.
    Reset,
    /// Connections stay open and nothing comes through; they are reset when it is over, because what
    /// was swallowed cannot be made good.
    BlackHole,
    /// When one side closes, the other hears of it only later.
    SlowClose(Duration),
}

/// A listener that passes everything on to another address.
pub struct Proxy {
    toxic: watch::Sender<Toxic>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `port` of the loopback and connects to `upstream` there.
    pub async fn start(port: u16, upstream: u16) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the proxy cannot listen on {address}"))?;
        let (toxic, seen) = watch::channel(Toxic::None);
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
        Ok(Self { toxic, task: tokio::spawn(accept(listener, upstream, seen)) })
    }

    /// From now on connections suffer from this.
    pub fn set(&self, toxic: Toxic) {
        self.toxic.send_replace(toxic);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, toxic: watch::Receiver<Toxic>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, upstream, toxic.clone()));
    }
}

async fn connect(client: TcpStream, upstream: SocketAddr, toxic: watch::Receiver<Toxic>) {
    if *toxic.borrow() == Toxic::Reset {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Closing a socket with a zero linger resets the connection; an orderly end turns it off again.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let reset = CancellationToken::new();
    let up = Direction { from: from_client, to: to_server, toxic: toxic.clone(), reset: reset.clone() };
    let down = Direction { from: from_server, to: to_client, toxic, reset };
    tokio::join!(up.run(), down.run());
}

/// One direction of a connection.
struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    toxic: watch::Receiver<Toxic>,
    /// The connection is to end at once, in both directions.
    reset: CancellationToken,
}

impl Direction {
    async fn run(mut self) {
        let reset = self.reset.clone();
        let orderly = reset.run_until_cancelled(self.pass_on()).await == Some(true);
        if !orderly {
            reset.cancel();
        }
    }

    /// Passes bytes on until one side ends; true when it ended in order.
    async fn pass_on(&mut self) -> bool {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let suffering = *self.toxic.borrow_and_update();
            let read = match suffering {
                Toxic::Reset => return false,
                Toxic::BlackHole => {
                    // Whatever comes next, this connection has lost bytes.
                    let _ = self.toxic.changed().await;
                    return false;
                }
                Toxic::None | Toxic::Latency(_) | Toxic::Bandwidth(_) | Toxic::SlowClose(_) => {
                    tokio::select! {
                        read = self.from.read(&mut chunk) => read,
                        _ = self.toxic.changed() => continue,
                    }
                }
            };
            let Ok(count) = read else { return false };
            if count == 0 {
                if let Toxic::SlowClose(delay) = suffering {
                    tokio::time::sleep(delay).await;
                }
                return self.to.shutdown().await.is_ok();
            }
            delay(suffering, count).await;
            if self.to.write_all(&chunk[..count]).await.is_err() {
                return false;
            }
        }
    }
}

async fn delay(toxic: Toxic, bytes: usize) {
    match toxic {
        Toxic::Latency(latency) => tokio::time::sleep(latency).await,
        Toxic::Bandwidth(bytes_per_second) => {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let seconds = f64::from(bytes) / f64::from(bytes_per_second);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        Toxic::None | Toxic::Reset | Toxic::BlackHole | Toxic::SlowClose(_) => {}
    }
}

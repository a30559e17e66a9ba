//! The admin listener of a process.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::telemetry::{Exporter, Readiness, serve_admin};

use super::failed_task;

/// The listener while it serves.
pub(super) struct AdminPart {
    address: SocketAddr,
    server: JoinHandle<io::Result<()>>,
}

impl AdminPart {
    pub(super) fn start(
        listener: TcpListener,
        readiness: Readiness,
        exporter: Exporter,
        further: Router,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { address, server: tokio::spawn(serve_admin(listener, readiness, exporter, further)) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends, which it does not by itself.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        failed_task("the admin listener", (&mut self.server).await.is_err())
    }

    pub(super) fn stop(self) {
        self.server.abort();
    }
}

//! Probes the pods of a service from their nodes and writes down which are ready, as the kubelets
//! and the control plane of a cluster would.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::interrupt::interrupted;
use crate::manifest_directory::ManifestDirectory;
use crate::manifests::{self, Endpoint, Service};
use crate::namespace;
use crate::plan::{Pod, Region};
use crate::readiness::Readiness;

/// From the end of one round of probes to the next.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long a pod may take to answer: as long as Kubernetes gives it, so that a busy machine does not
/// pass for a dead pod, which refuses at once.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The thread that probes one service's pods in one region; dropping it ends the thread.
#[derive(Debug)]
pub struct Kubelet {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    /// Starts to probe every pod of the service, and keeps the manifest `endpointslice-NAME`.
    ///
    /// The manifest is there, with all pods unready, when this returns.
    ///
    /// # Errors
    ///
    /// If the manifest cannot be written, or a node does not exist.
    pub fn start(region: &Region, service: Service, directory: ManifestDirectory) -> Result<Self> {
        let pods = region.pods.iter().filter(|it| it.app == service.app);
        let pods = pods.map(|pod| {
            let node = namespace::open(&region.node(pod.node))?;
            let address = region.pod_address(pod);
            Ok(Probed {
                pod: pod.clone(),
                address,
                node,
                readiness: Readiness::default(),
            })
        });
        let mut prober = Prober {
            region: region.clone(),
            pods: pods.collect::<Result<_>>()?,
            service,
            directory,
        };
        prober.write()?;

        let (stop, stopped) = sync_channel(0);
        let thread = thread::Builder::new().name(format!("kubelet-{}", region.name));
        let thread = thread.spawn(move || prober.run(&stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Prober {
    region: Region,
    service: Service,
    directory: ManifestDirectory,
    pods: Vec<Probed>,
}

struct Probed {
    pod: Pod,
    address: Ipv4Addr,
    /// The namespace of its node.
    node: File,
    readiness: Readiness,
}

impl Prober {
    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let before = self.endpoints();
            for probed in &mut self.pods {
                let success = probe(probed, self.service.target_port).is_ok();
                probed.readiness.observe(success);
            }
            if before == self.endpoints() {
                continue;
            }
            if let Err(error) = self.write()
                && !interrupted()
            {
                tracing::warn!(
                    region = self.region.name,
                    "cannot write endpoints: {error:#}"
                );
            }
        }
    }

    fn write(&self) -> Result<()> {
        let slice = manifests::endpoint_slice(&self.region, &self.service, &self.endpoints());
        self.directory
            .write(&format!("endpointslice-{}", self.service.name), &slice)
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let pods = self.pods.iter();
        pods.map(|it| Endpoint {
            pod: it.pod.clone(),
            ready: it.readiness.is_ready(),
        })
        .collect()
    }
}

/// Asks a pod from its node whether it is well.
fn probe(probed: &Probed, port: u16) -> Result<()> {
    namespace::enter(&probed.node)?;
    let address = SocketAddr::from((probed.address, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    status.ends_with(b" 200").then_some(()).context("not well")
}

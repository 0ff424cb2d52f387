//! The cluster's store, served on the namespace's loopback.

use std::thread::{self, JoinHandle};

use kvstore::server::{Options, Server};
use kvstore::store::{Link, Store};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use crate::world;

/// A key with its new value, or none to delete it.
type Write = (String, Option<String>, oneshot::Sender<()>);

/// Lives in a thread of its own, because only that thread is in the namespace.
pub(crate) struct StoreThread {
    writes: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    pub(crate) fn start(namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        let (writes, received) = mpsc::channel(1);
        let thread = thread::spawn(move || {
            world::enter(&namespace);
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(received));
        });
        Self {
            writes: Some(writes),
            thread: Some(thread),
        }
    }

    /// Returns once the store has the value.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.write(key, Some(value.to_owned()));
    }

    pub(crate) fn delete(&self, key: &str) {
        self.write(key, None);
    }

    /// Ends the store; whoever uses it loses it.
    pub(crate) fn stop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }

    fn write(&self, key: &str, value: Option<String>) {
        let (done, waiting) = oneshot::channel();
        let write = (key.to_owned(), value, done);
        self.writes.as_ref().unwrap().blocking_send(write).unwrap();
        waiting.blocking_recv().unwrap();
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(mut writes: mpsc::Receiver<Write>) {
    let options = Options::new("127.0.0.1:2379".parse().unwrap(), "test");
    let server = Server::bind(options).await.unwrap();
    let store = Store::Local(server.local());
    let mut client = store.connect(&Link::default()).await.unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    while let Some((key, value, done)) = writes.recv().await {
        match value {
            Some(value) => drop(client.put(key, value, None).await.unwrap()),
            None => drop(client.delete(key, None).await.unwrap()),
        }
        let _gone = done.send(());
    }
}
